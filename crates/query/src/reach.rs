//! Bounds the keys and storage times of all matches, so that nothing else need be listed.

use attest_storage::TimeRange;

use crate::{
    field::Field,
    syntax::{Condition, Expression, Operator, Subject},
    test::Test,
};

pub fn key_prefix(query: &Expression) -> String {
    match query {
        Expression::All(parts) => parts.iter().map(key_prefix).max_by_key(String::len).unwrap_or_default(),
        Expression::Either(parts) => {
            let prefixes = parts.iter().map(key_prefix);
            prefixes.reduce(|one, other| shared_prefix(&one, &other)).unwrap_or_default()
        }
        Expression::Condition(Condition { subject: Subject::Field(field), test, .. }) => match (field, test) {
            (Field::Fingerprint, Test::Fingerprint { prefix, .. }) => prefix.clone(),
            (Field::Key, Test::Equal(pattern)) => pattern.text.clone(),
            _ => String::new(),
        },
        _ => String::new(),
    }
}

fn shared_prefix(one: &str, other: &str) -> String {
    one.chars().zip(other.chars()).take_while(|(one, other)| one == other).map(|(one, _)| one).collect()
}

pub fn times(query: &Expression) -> TimeRange {
    match query {
        Expression::All(parts) => parts.iter().map(times).fold(TimeRange::default(), TimeRange::within),
        Expression::Either(parts) => {
            let ranges = || parts.iter().map(times);
            // One unbounded range makes the union unbounded.
            let since = ranges().map(|range| range.since).collect::<Option<Vec<_>>>();
            let until = ranges().map(|range| range.until).collect::<Option<Vec<_>>>();
            TimeRange {
                since: since.and_then(|all| all.into_iter().min()),
                until: until.and_then(|all| all.into_iter().max()),
            }
        }
        Expression::Condition(Condition {
            subject: Subject::Field(Field::Stored | Field::Since | Field::Until),
            test: Test::Time(operator, period),
            ..
        }) => match operator {
            Operator::Is | Operator::Equal => TimeRange { since: Some(period.start), until: Some(period.end) },
            Operator::Greater => TimeRange { since: Some(period.end), until: None },
            Operator::AtLeast => TimeRange { since: Some(period.start), until: None },
            Operator::Less => TimeRange { since: None, until: Some(period.start) },
            Operator::AtMost => TimeRange { since: None, until: Some(period.end) },
        },
        _ => TimeRange::default(),
    }
}
