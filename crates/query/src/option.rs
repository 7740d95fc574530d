//! The option `--query`, the same in every command that selects traces.

use clap::Args;

use crate::Query;

#[derive(Debug, Clone, Args)]
pub struct QueryOption {
    /// Only traces that this query selects, such as "refund log.rating>=4"; --help lists the fields
    // A query may start with a `-` that negates its first word.
    #[arg(long, value_parser = Query::parse_option, allow_hyphen_values = true)]
    pub query: Option<Query>,
}
