//! The query language, which selects traces on the page and in `export`, `forget` and `share`.
//!
//! The section "The query" of `docs/reading.md` defines the language: its grammar, fields, comparisons, times and
//! errors.

mod decimal;
mod error;
mod field;
mod matching;
mod option;
mod parse;
mod period;
mod prefilter;
mod reach;
mod selector;
mod syntax;
mod test;

pub use error::QueryError;
pub use field::Field;
pub use matching::Candidate;
pub use option::QueryOption;
pub use prefilter::Prefilter;
pub use selector::Selector;

use attest_storage::{ListingEntry, TimeRange};
use syntax::{Expression, Subject};

/// A parsed query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Expression);

impl Query {
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        parse::parse(text).map(Self)
    }

    /// Parses an option's value, which must not be empty, because an empty value may come from an unset variable.
    pub fn parse_option(text: &str) -> Result<Self, QueryError> {
        match Self::parse(text)? {
            query if query.is_empty() => Err(QueryError::NoQuery),
            query => Ok(query),
        }
    }

    /// Returns the query for one exact value of a field.
    pub fn of(field: Field, value: &str) -> Result<Self, QueryError> {
        Ok(Self(Expression::Condition(syntax::Condition::of_field(field, value)?)))
    }

    /// Returns whether the query is empty and so selects every trace.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == Expression::default()
    }

    /// Returns whether some traces cannot be decided without their content.
    #[must_use]
    pub fn needs_content(&self) -> bool {
        self.0.any_condition(&|condition| condition.needs_content())
    }

    /// Decides from the listing alone. Returns `None` if the content is needed.
    #[must_use]
    pub fn decide(&self, entry: &ListingEntry) -> Option<bool> {
        matching::decide(&self.0, entry)
    }

    #[must_use]
    pub fn matches(&self, candidate: &Candidate<'_>) -> bool {
        matching::matches(&self.0, candidate)
    }

    #[must_use]
    pub fn prefilter(&self) -> Prefilter {
        Prefilter::of(&self.0)
    }

    /// Returns a prefix that the keys of all matches share.
    #[must_use]
    pub fn key_prefix(&self) -> String {
        reach::key_prefix(&self.0)
    }

    /// Returns a range that contains the storage times of all matches.
    #[must_use]
    pub fn times(&self) -> TimeRange {
        reach::times(&self.0)
    }

    /// Returns the words that are not negated, for highlighting.
    #[must_use]
    pub fn words(&self) -> Vec<&str> {
        let mut words = Vec::new();
        self.0.words(&mut words);
        words
    }

    /// Returns the values of the `field:value` conditions that every match meets.
    pub fn values(&self, field: Field) -> impl Iterator<Item = &str> {
        self.0.all_of().iter().filter_map(move |part| part.as_value_of(field))
    }

    /// Adds the condition `field:value`. Replaces the conditions on the field that every match meets. An empty value
    /// only removes them.
    pub fn with(self, field: Field, value: &str) -> Result<Self, QueryError> {
        let is_replaced = |part: &Expression| matches!(part, Expression::Condition(condition) if condition.subject == Subject::Field(field));
        let others = self.0.into_all().into_iter().filter(|part| !is_replaced(part));
        let added = if value.is_empty() { None } else { Some(syntax::Condition::of_field(field, value)?) };
        Ok(Self(Expression::all(added.map(Expression::Condition).into_iter().chain(others))))
    }

    /// Returns a query that matches the traces that both queries match.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(Expression::all([self.0, other.0]))
    }
}

impl std::fmt::Display for Query {
    /// Formats the query as text that parses to the same query.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for Query {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        Self::parse(text)
    }
}
