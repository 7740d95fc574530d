//! Decides whether a trace matches a query.

use std::cell::OnceCell;

use attest::key::Key;
use attest_mapping::{
    conversation::{Conversation, Header, StoredTrace},
    json::{Json, Members},
};
use attest_storage::ListingEntry;

use crate::{
    decimal::Decimal,
    field::Field,
    syntax::{Condition, Expression, Path, Subject},
    test::{Pattern, State, Test},
};

/// A stored trace with its listing entry. Computes only what a query needs.
#[derive(Debug)]
pub struct Candidate<'a> {
    entry: &'a ListingEntry,
    stored: &'a StoredTrace,
    header: OnceCell<Header>,
    conversation: OnceCell<Conversation>,
}

impl<'a> Candidate<'a> {
    #[must_use]
    pub fn new(entry: &'a ListingEntry, stored: &'a StoredTrace) -> Self {
        Self { entry, stored, header: OnceCell::new(), conversation: OnceCell::new() }
    }

    pub fn header(&self) -> &Header {
        self.header.get_or_init(|| Header::read(self.stored.trace()))
    }

    pub fn conversation(&self) -> &Conversation {
        self.conversation.get_or_init(|| self.stored.conversation())
    }

    #[must_use]
    pub fn into_header(self) -> Header {
        self.header.into_inner().unwrap_or_else(|| Header::read(self.stored.trace()))
    }
}

pub fn matches(query: &Expression, candidate: &Candidate<'_>) -> bool {
    match query {
        Expression::All(parts) => parts.iter().all(|part| matches(part, candidate)),
        Expression::Either(parts) => parts.iter().any(|part| matches(part, candidate)),
        Expression::Not(negated) => !matches(negated, candidate),
        Expression::Word(word) => {
            let mut is_found = false;
            candidate.conversation().texts(|text| is_found = is_found || word.needle.is_in(text));
            is_found
        }
        Expression::Condition(condition) => match &condition.subject {
            Subject::Field(field) => holds_for_field(*field, &condition.test, candidate),
            Subject::Member(path) => holds_at(candidate.stored.trace(), path, &condition.test),
        },
    }
}

/// Evaluates a query on a listing entry alone, in three-valued logic: `None` if the result depends on the content.
pub fn decide(query: &Expression, entry: &ListingEntry) -> Option<bool> {
    let decide_parts = |parts: &[Expression], decisive: bool| {
        let mut decided = Some(!decisive);
        for part in parts {
            match decide(part, entry) {
                Some(holds) if holds == decisive => return Some(decisive),
                Some(_) => {}
                None => decided = None,
            }
        }
        decided
    };
    match query {
        Expression::All(parts) => decide_parts(parts, false),
        Expression::Either(parts) => decide_parts(parts, true),
        Expression::Not(negated) => decide(negated, entry).map(|holds| !holds),
        Expression::Condition(Condition { subject: Subject::Field(field), test, .. }) if field.is_listed() => {
            Some(holds_for_entry(*field, test, entry))
        }
        Expression::Word(_) | Expression::Condition(_) => None,
    }
}

fn holds_for_entry(field: Field, test: &Test, entry: &ListingEntry) -> bool {
    match (field, test) {
        (Field::Fingerprint, Test::Fingerprint { prefix, is_whole }) => {
            let rest = entry.key.strip_prefix(prefix);
            rest.is_some_and(|rest| !(*is_whole && rest.contains('/'))) && Key::read(&entry.key).is_some()
        }
        (Field::Id, test) => {
            // Ids are compared as sent, and as encoded in the key: `id:9` does not match the `%C3%A9` of an encoded `é`.
            let Some((_, id)) = Key::read(&entry.key) else { return false };
            let encoded = entry.key.rsplit_once('/').map_or("", |(_, id)| id);
            match test {
                Test::Part(part) => id.contains(part) || part.contains('%') && encoded.contains(part),
                Test::Equal(pattern) => pattern.is_text(&id) || pattern.is_text(encoded),
                _ => false,
            }
        }
        (Field::Key, Test::Equal(pattern)) => pattern.is_text(&entry.key),
        (Field::Size, test) => number(&entry.size.to_string(), test),
        (Field::Stored | Field::Since | Field::Until, test) => test.holds_for_time(entry.stored),
        _ => false,
    }
}

fn holds_for_field(field: Field, test: &Test, candidate: &Candidate<'_>) -> bool {
    let trace = candidate.stored.trace();
    let header = || candidate.header();
    let count = |tokens: Option<u64>| tokens.is_some_and(|tokens| number(&tokens.to_string(), test));
    match field {
        Field::Fingerprint | Field::Id | Field::Key | Field::Size | Field::Stored | Field::Since | Field::Until => {
            holds_for_entry(field, test, candidate.entry)
        }
        Field::Model | Field::Created => members(trace, field.name()).any(|value| test.holds_for(value)),
        Field::InputTokens => count(header().tokens.input),
        Field::OutputTokens => count(header().tokens.output),
        Field::TotalTokens => count(header().tokens.total),
        Field::Seconds => header().seconds.is_some_and(|seconds| number(&seconds.to_string(), test)),
        Field::Is => match test {
            Test::State(State::Error) => header().error.is_some(),
            Test::State(State::Refusal) => header().is_refused,
            Test::State(State::Incomplete) => header().incomplete.is_some(),
            _ => false,
        },
        Field::Error => header().error.as_ref().is_some_and(|error| match test {
            Test::Error(needle) => needle.is_in(error),
            Test::Equal(pattern) => pattern.is_text(error),
            _ => false,
        }),
        Field::User | Field::Session | Field::Tag | Field::Role | Field::Tool => match test {
            Test::Equal(pattern) => holds_for_label(field, pattern, candidate),
            _ => false,
        },
    }
}

fn holds_for_label(field: Field, pattern: &Pattern, candidate: &Candidate<'_>) -> bool {
    let header = || candidate.header();
    let is = |text: &str| pattern.is_text(text);
    match field {
        Field::User => header().user.as_deref().is_some_and(is),
        Field::Tag => header().tags.iter().any(|tag| is(tag)),
        Field::Session => {
            let span = || header().span.as_ref().and_then(|span| span.trace.as_deref());
            header().session.as_deref().is_some_and(is) || span().is_some_and(is)
        }
        Field::Role => {
            let mut stored = candidate.stored.trace().list("messages").iter().filter_map(Json::as_object);
            stored.any(|message| message.text("role").is_some_and(is)) || candidate.conversation().has_role(is)
        }
        Field::Tool => candidate.conversation().calls(is),
        _ => false,
    }
}

fn number(digits: &str, test: &Test) -> bool {
    Decimal::parse(digits).is_some_and(|number| test.holds_for_number(&number))
}

/// Returns the values of all members called `name`.
fn members<'a>(trace: &'a Members, name: &'a str) -> impl Iterator<Item = &'a Json> {
    trace.iter().filter(move |(own, _)| *own == name).map(|(_, value)| value)
}

fn holds_at(trace: &Members, path: &Path, test: &Test) -> bool {
    let Some((first, below)) = path.names.split_first() else { return false };
    members(trace, first).any(|value| holds_below(value, below, test))
}

/// Returns whether the test holds for a value at the path. A list stands for its elements, as does an object whose
/// names are positions.
fn holds_below(value: &Json, path: &[String], test: &Test) -> bool {
    let Some((name, below)) = path.split_first() else { return test.holds_for(value) };
    match value {
        Json::Array(elements) => {
            let place = Some(name).filter(|name| is_position(name)).and_then(|name| name.parse::<usize>().ok());
            place.and_then(|place| elements.get(place)).is_some_and(|element| holds_below(element, below, test))
                || elements.iter().any(|element| holds_below(element, path, test))
        }
        Json::Object(object) => {
            members(object, name).any(|value| holds_below(value, below, test))
                || object.iter().all(|(name, _)| is_position(name))
                    && object.iter().any(|(_, element)| holds_below(element, path, test))
        }
        _ => false,
    }
}

fn is_position(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
}
