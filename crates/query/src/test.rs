//! Interprets the right side of a condition according to its left side.

use std::cmp::Ordering;

use attest_mapping::{LetterCase, Needle, json::Json};
use attest_storage::Fingerprint;
use jiff::Timestamp;

use crate::{
    QueryError,
    decimal::Decimal,
    field::{Field, Kind},
    period::Period,
    syntax::{Operator, Subject, Value},
};

/// What a condition tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    Equal(Pattern),
    /// The key prefix of a fingerprint. `is_whole` excludes longer fingerprints, such as `m-1/b` for `m-1`.
    Fingerprint {
        prefix: String,
        is_whole: bool,
    },
    /// A substring, exactly as typed.
    Part(String),
    /// A substring of the error, ignoring case.
    Error(Needle),
    Number(Operator, Decimal),
    Time(Operator, Period),
    State(State),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Error,
    Refusal,
    Incomplete,
}

/// A string, number or literal that a value must equal, or a prefix that it must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    pub text: String,
    pub is_prefix: bool,
    number: Option<Decimal>,
}

impl Pattern {
    fn new(text: &str, is_prefix: bool) -> Self {
        let number = if is_prefix { None } else { Decimal::parse(text) };
        Self { text: text.to_owned(), is_prefix, number }
    }

    /// Returns whether every value matches, whatever its type.
    pub fn is_any(&self) -> bool {
        self.is_prefix && self.text.is_empty()
    }

    /// Returns whether only strings can match.
    pub fn is_textual(&self) -> bool {
        !self.is_any() && self.number.is_none() && !matches!(self.text.as_str(), "true" | "false" | "null")
    }

    pub fn is_text(&self, text: &str) -> bool {
        if self.is_prefix { text.starts_with(&self.text) } else { text == self.text }
    }

    fn is_value(&self, value: &Json) -> bool {
        match value {
            Json::String(text) => self.is_text(text),
            Json::Number(number) => self.number.is_some() && self.number == Decimal::parse(number.get()),
            Json::Bool(value) => !self.is_prefix && self.text == if *value { "true" } else { "false" },
            Json::Null => !self.is_prefix && self.text == "null",
            Json::Array(_) | Json::Object(_) => false,
        }
    }
}

impl Test {
    pub fn of(subject: &Subject, operator: Operator, value: &Value) -> Result<Self, QueryError> {
        let not_taken = |allowed| QueryError::Operator { subject: subject.to_string(), operator, allowed };
        let number = || {
            let number = if value.is_prefix { None } else { Decimal::parse(&value.text) };
            number.map(|number| Self::Number(operator, number)).ok_or_else(|| QueryError::Number {
                subject: subject.to_string(),
                operator,
                value: value.to_string(),
            })
        };
        let equal = || Self::Equal(Pattern::new(&value.text, value.is_prefix));
        let is_equality = matches!(operator, Operator::Is | Operator::Equal);
        let Subject::Field(field) = *subject else {
            return if is_equality { Ok(equal()) } else { number() };
        };
        let text = value.literal();
        match field.kind() {
            Kind::Number => number(),
            Kind::Time | Kind::Bound => {
                if field.kind() == Kind::Bound && !is_equality {
                    return Err(not_taken("`:`, or the field `stored`"));
                }
                let operator = match field {
                    Field::Since => Operator::AtLeast,
                    Field::Until => Operator::Less,
                    _ => operator,
                };
                let period = Period::parse(&text).ok_or(QueryError::Time { field, value: text })?;
                Ok(Self::Time(operator, period))
            }
            _ if !is_equality => Err(not_taken("`:` or `=`")),
            Kind::State => match text.as_str() {
                "error" => Ok(Self::State(State::Error)),
                "refusal" => Ok(Self::State(State::Refusal)),
                "incomplete" => Ok(Self::State(State::Incomplete)),
                _ => Err(QueryError::State(text)),
            },
            Kind::Text => Ok(equal()),
            Kind::Part if value.is_prefix && field != Field::Fingerprint => Ok(equal()),
            Kind::Part => Self::part(field, operator, value.text.clone()),
        }
    }

    fn part(field: Field, operator: Operator, text: String) -> Result<Self, QueryError> {
        if text.is_empty() {
            return Err(QueryError::Empty);
        }
        match (field, operator) {
            (Field::Fingerprint, Operator::Equal) => match Fingerprint::new(&text) {
                Ok(fingerprint) => {
                    Ok(Self::Fingerprint { prefix: fingerprint.key_prefix().to_owned(), is_whole: true })
                }
                Err(error) => Err(QueryError::Fingerprint(text, error)),
            },
            (Field::Fingerprint, _) => Ok(Self::Fingerprint { prefix: key_prefix(&text), is_whole: false }),
            (_, Operator::Equal) => Ok(Self::Equal(Pattern::new(&text, false))),
            (Field::Error, _) => Ok(Self::Error(Needle::new(&text, LetterCase::Ignored))),
            _ => Ok(Self::Part(text)),
        }
    }

    /// Returns whether the test holds for `value`, or for any value within it.
    pub fn holds_for(&self, value: &Json) -> bool {
        if matches!(self, Self::Equal(pattern) if pattern.is_any()) {
            return true;
        }
        match value {
            Json::Array(elements) => elements.iter().any(|element| self.holds_for(element)),
            Json::Object(members) => members.iter().any(|(_, member)| self.holds_for(member)),
            value => self.holds_for_single(value),
        }
    }

    fn holds_for_single(&self, value: &Json) -> bool {
        match (self, value) {
            (Self::Equal(pattern), value) => pattern.is_value(value),
            (Self::Number(..), Json::Number(number)) => {
                Decimal::parse(number.get()).is_some_and(|number| self.holds_for_number(&number))
            }
            (Self::Time(operator, period), Json::Number(number)) => {
                let seconds = |time: Timestamp| Decimal::parse(&time.as_second().to_string());
                let (Some(time), Some(start), Some(end)) =
                    (Decimal::parse(number.get()), seconds(period.start), seconds(period.end))
                else {
                    return false;
                };
                is_in(*operator, &time, &start, &end)
            }
            _ => false,
        }
    }

    pub fn holds_for_number(&self, number: &Decimal) -> bool {
        let Self::Number(operator, limit) = self else { return false };
        match number.cmp(limit) {
            Ordering::Less => matches!(operator, Operator::Less | Operator::AtMost),
            Ordering::Equal => !matches!(operator, Operator::Less | Operator::Greater),
            Ordering::Greater => matches!(operator, Operator::Greater | Operator::AtLeast),
        }
    }

    pub fn holds_for_time(&self, time: Timestamp) -> bool {
        let Self::Time(operator, period) = self else { return false };
        is_in(*operator, &time, &period.start, &period.end)
    }
}

/// Compares a time with the period from `start` to just before `end`.
fn is_in<T: Ord>(operator: Operator, time: &T, start: &T, end: &T) -> bool {
    match operator {
        Operator::Is | Operator::Equal => time >= start && time < end,
        Operator::Greater => time >= end,
        Operator::AtLeast => time >= start,
        Operator::Less => time < start,
        Operator::AtMost => time < end,
    }
}

/// Returns the key prefix of all fingerprints that start with `typed`, which may be encoded as in keys.
fn key_prefix(typed: &str) -> String {
    let is_of_a_key = attest::key::Key::read(&format!("{}/-", typed.trim_end_matches('/'))).is_some();
    match Fingerprint::new(typed) {
        Ok(encoded) if !is_of_a_key => encoded.key_prefix().trim_end_matches('/').to_owned(),
        _ => typed.to_owned(),
    }
}
