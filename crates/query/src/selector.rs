//! Tests stored traces, trying the cheapest test first.

use attest_mapping::conversation::StoredTrace;
use attest_storage::ListingEntry;

use crate::{Candidate, Prefilter, Query};

#[derive(Debug, Clone)]
pub struct Selector {
    query: Query,
    prefilter: Prefilter,
}

impl Selector {
    #[must_use]
    pub fn new(query: Query) -> Self {
        Self { prefilter: query.prefilter(), query }
    }

    #[must_use]
    pub fn query(&self) -> &Query {
        &self.query
    }

    #[must_use]
    pub fn selects(&self, entry: &ListingEntry, json: &[u8]) -> bool {
        self.query.decide(entry).unwrap_or_else(|| {
            self.prefilter.may_match(json) && self.query.matches(&Candidate::new(entry, &StoredTrace::read(json)))
        })
    }
}
