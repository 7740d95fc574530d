//! A second implementation of query matching, written from the section "The query" in `docs/reading.md`. It uses
//! neither the parser nor the numbers nor the shortcuts of `attest-query`.

use std::cmp::Ordering;

use serde_json::Value;

/// JSON whose members keep their order.
#[derive(Debug, Clone)]
pub enum Plain {
    Object(Vec<(String, Plain)>),
    Array(Vec<Plain>),
    /// A text, a number with its digits, or a literal.
    Single(Value),
}

pub struct StoredTrace {
    pub key: String,
    pub id: String,
    pub fingerprint: String,
    pub json: String,
    /// Seconds since 1970.
    pub stored: u64,
    pub created: u64,
    pub model: String,
    /// The contents of the messages, in lower case and NFC.
    pub contents: Vec<String>,
    pub roles: Vec<String>,
    pub user: Option<String>,
    pub tokens: Option<u64>,
    pub trace: Plain,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Is,
    Equal,
    Greater,
    AtLeast,
    Less,
    AtMost,
}

#[derive(Debug, Clone)]
pub enum Expression {
    And(Vec<Expression>),
    Or(Vec<Expression>),
    Not(Box<Expression>),
    /// In lower case and NFC.
    Word(String),
    Member {
        path: Vec<String>,
        operator: Operator,
        value: String,
        is_prefix: bool,
    },
    /// The fingerprint starts with `text`, or equals it if `is_whole`.
    Fingerprint {
        text: String,
        is_whole: bool,
    },
    Id {
        text: String,
        is_whole: bool,
    },
    Model {
        text: String,
        is_prefix: bool,
    },
    Role(String),
    User {
        text: String,
        is_prefix: bool,
    },
    /// The period from the first number to just before the second one, in seconds since 1970.
    Created(Operator, u64, u64),
    Stored(Operator, u64, u64),
    Size(Operator, String),
    Tokens(Operator, String),
}

impl Expression {
    pub fn holds(&self, trace: &StoredTrace) -> bool {
        let is = |text: &str, value: &str, is_prefix| if is_prefix { text.starts_with(value) } else { text == value };
        match self {
            Self::And(parts) => parts.iter().all(|part| part.holds(trace)),
            Self::Or(parts) => parts.iter().any(|part| part.holds(trace)),
            Self::Not(negated) => !negated.holds(trace),
            Self::Word(word) => trace.contents.iter().any(|content| content.contains(word)),
            Self::Member { path, operator, value, is_prefix } => {
                let mut found = Vec::new();
                find(&trace.trace, path, &mut found);
                found.iter().any(|found| holds_for(found, *operator, value, *is_prefix))
            }
            Self::Fingerprint { text, is_whole } => is(&trace.fingerprint, text, !is_whole),
            Self::Id { text, is_whole: true } => trace.id == *text,
            Self::Id { text, is_whole: false } => trace.id.contains(text),
            Self::Model { text, is_prefix } => is(&trace.model, text, *is_prefix),
            Self::Role(role) => trace.roles.contains(role),
            Self::User { text, is_prefix } => trace.user.as_ref().is_some_and(|user| is(user, text, *is_prefix)),
            Self::Created(operator, start, end) => is_in(trace.created, *operator, *start, *end),
            Self::Stored(operator, start, end) => is_in(trace.stored, *operator, *start, *end),
            Self::Size(operator, value) => compares(&trace.json.len().to_string(), *operator, value),
            Self::Tokens(operator, value) => {
                trace.tokens.is_some_and(|tokens| compares(&tokens.to_string(), *operator, value))
            }
        }
    }
}

fn is_in(time: u64, operator: Operator, start: u64, end: u64) -> bool {
    match operator {
        Operator::Is | Operator::Equal => (start..end).contains(&time),
        Operator::Greater => time >= end,
        Operator::AtLeast => time >= start,
        Operator::Less => time < start,
        Operator::AtMost => time < end,
    }
}

/// Finds all values at a path. A list stands for its elements, as does an object whose names are all positions.
fn find<'a>(value: &'a Plain, path: &[String], found: &mut Vec<&'a Plain>) {
    let is_position = |name: &str| name.parse::<usize>().is_ok();
    let Some(name) = path.first() else { return found.push(value) };
    match value {
        Plain::Array(elements) => {
            for (place, element) in elements.iter().enumerate() {
                find(element, path, found);
                if *name == place.to_string() {
                    find(element, &path[1..], found);
                }
            }
        }
        Plain::Object(members) => {
            let is_list = members.iter().all(|(name, _)| is_position(name));
            for (own, member) in members {
                if own == name {
                    find(member, &path[1..], found);
                }
                if is_list {
                    find(member, path, found);
                }
            }
        }
        Plain::Single(_) => {}
    }
}

/// Returns whether a condition holds for `value`, or for any value within it.
fn holds_for(value: &Plain, operator: Operator, right: &str, is_prefix: bool) -> bool {
    if is_prefix && right.is_empty() {
        return true;
    }
    let value = match value {
        Plain::Array(elements) => {
            return elements.iter().any(|element| holds_for(element, operator, right, is_prefix));
        }
        Plain::Object(members) => {
            return members.iter().any(|(_, member)| holds_for(member, operator, right, is_prefix));
        }
        Plain::Single(value) => value,
    };
    match (value, operator) {
        (Value::String(text), Operator::Is | Operator::Equal) => {
            if is_prefix {
                text.starts_with(right)
            } else {
                text == right
            }
        }
        (Value::Number(number), _) if !is_prefix && is_number(right) => compares(&number.to_string(), operator, right),
        (Value::Bool(value), Operator::Is | Operator::Equal) => !is_prefix && right.parse() == Ok(*value),
        (Value::Null, Operator::Is | Operator::Equal) => !is_prefix && right == "null",
        _ => false,
    }
}

fn is_number(text: &str) -> bool {
    serde_json::from_str::<serde_json::Number>(text).is_ok()
}

fn compares(left: &str, operator: Operator, right: &str) -> bool {
    let order = order(&fixed(left), &fixed(right));
    match operator {
        Operator::Is | Operator::Equal => order.is_eq(),
        Operator::Greater => order.is_gt(),
        Operator::AtLeast => order.is_ge(),
        Operator::Less => order.is_lt(),
        Operator::AtMost => order.is_le(),
    }
}

fn order(left: &(bool, String), right: &(bool, String)) -> Ordering {
    match (left.0, right.0) {
        (false, false) => left.1.cmp(&right.1),
        (true, true) => right.1.cmp(&left.1),
        (is_negative, _) => {
            if is_negative {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        }
    }
}

/// Formats a number with 500 digits before and after the point, which is enough for all numbers in this test. Returns
/// whether the number is negative.
fn fixed(number: &str) -> (bool, String) {
    const DIGITS: usize = 500;
    let (sign, number) = number.strip_prefix('-').map_or((false, number), |rest| (true, rest));
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent: isize = exponent.parse().expect("a small exponent");
    let mut digits = vec![b'0'; 2 * DIGITS];
    let first = (DIGITS - whole.len()).checked_add_signed(-exponent).expect("it has a place");
    for (at, digit) in whole.bytes().chain(fraction.bytes()).enumerate() {
        digits[first + at] = digit;
    }
    let digits = String::from_utf8(digits).expect("digits");
    (sign && digits.bytes().any(|digit| digit != b'0'), digits)
}
