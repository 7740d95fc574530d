//! The search box: words, and conditions such as `model:gpt-4o role:tool since:2026-11-01 "refund"`.
//!
//! ```text
//! query     = *( condition / word )           ; separated by white space; all must hold
//! condition = field ":" value
//! word      = value                           ; a text in a message, ignoring case
//! value     = 1*(any but white space) / DQUOTE *( any but DQUOTE and "\" / "\" any ) DQUOTE
//! ```
//!
//! If the text before a colon is not the name of a field, the whole text is a word. You can therefore search for a
//! URL.

use std::fmt;

use attest_storage::{TimeRange, parse_time};

/// A part of a trace that a condition tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Fingerprint,
    Id,
    Model,
    Role,
    Tool,
    Session,
    Is,
    Since,
    Until,
}

impl Field {
    /// All fields, with their name and an explanation.
    pub const ALL: [(Self, &'static str, &'static str); 9] = [
        (Self::Fingerprint, "fingerprint", "the fingerprint begins with this, as you typed it"),
        (Self::Id, "id", "the id contains this, as you typed it"),
        (Self::Model, "model", "the model is exactly this"),
        (Self::Role, "role", "a message has this role: system, developer, user, assistant or tool"),
        (Self::Tool, "tool", "a tool of this name is called"),
        (Self::Session, "session", "the session, conversation or OpenTelemetry trace has this id"),
        (Self::Is, "is", "error, refusal or incomplete"),
        (Self::Since, "since", "stored at this time or later, such as 2026-11-22 or 2026-11-22T10:00:00Z"),
        (Self::Until, "until", "stored before this time"),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, other, _)| other.eq_ignore_ascii_case(name)).map(|(field, ..)| *field)
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(field, ..)| *field == self).map_or("", |(_, name, _)| name)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// The texts that a trace must contain.
    pub words: Vec<String>,
    conditions: Vec<(Field, String)>,
}

impl Query {
    /// Parses the text of the search box. Every text is a valid query. An unclosed quote extends to the end of the
    /// text.
    pub fn parse(text: &str) -> Self {
        let mut query = Self::default();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let field = rest.split_once(':').and_then(|(name, value)| Some((Field::named(name)?, value)));
            let (value, behind) = value(field.map_or(rest, |(_, value)| value));
            match field {
                Some((field, _)) if !value.is_empty() => query.conditions.push((field, value)),
                None if !value.is_empty() => query.words.push(value),
                _ => {}
            }
            rest = behind.trim_start();
        }
        query
    }

    /// Returns the values of a field; all of them must hold.
    pub fn values(&self, field: Field) -> impl Iterator<Item = &str> {
        self.conditions.iter().filter(move |(other, _)| *other == field).map(|(_, value)| value.as_str())
    }

    /// Returns this query with all conditions on a field replaced by one.
    #[must_use]
    pub fn with(mut self, field: Field, value: &str) -> Self {
        self.conditions.retain(|(other, _)| *other != field);
        if !value.is_empty() {
            self.conditions.push((field, value.to_owned()));
        }
        self
    }

    pub fn times(&self) -> anyhow::Result<TimeRange> {
        let bound = |field: Field| {
            let times = self.values(field).map(|value| {
                parse_time(value).map_err(|error| anyhow::anyhow!("`{}:{value}` is not a time: {error}", field.name()))
            });
            times.collect::<anyhow::Result<Vec<_>>>()
        };
        Ok(TimeRange { since: bound(Field::Since)?.into_iter().max(), until: bound(Field::Until)?.into_iter().min() })
    }

    /// Returns whether a trace must be read to decide whether it matches.
    pub fn needs_content(&self) -> bool {
        let is_of_the_listing = |field| matches!(field, Field::Fingerprint | Field::Id | Field::Since | Field::Until);
        !self.words.is_empty() || self.conditions.iter().any(|(field, _)| !is_of_the_listing(*field))
    }
}

fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, behind) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
        return (value.to_owned(), behind);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(character),
        }
    }
    (value, "")
}

impl fmt::Display for Query {
    /// Formats the query as text that parses to the same query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (field, value) in &self.conditions {
            write!(f, "{separator}{}:{}", field.name(), Quoted { value, is_forced: false })?;
            separator = " ";
        }
        for word in &self.words {
            let is_like_a_condition = word.split_once(':').is_some_and(|(name, _)| Field::named(name).is_some());
            let word = Quoted { value: word, is_forced: is_like_a_condition };
            write!(f, "{separator}{word}")?;
            separator = " ";
        }
        Ok(())
    }
}

/// A value, quoted if the parser would otherwise read it differently.
struct Quoted<'a> {
    value: &'a str,
    is_forced: bool,
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_forced || self.value.starts_with('"') || self.value.contains(char::is_whitespace) {
            write!(f, "\"{}\"", self.value.replace('\\', r"\\").replace('"', "\\\""))
        } else {
            f.write_str(self.value)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn conditions_and_words_are_told_apart() {
        let query = Query::parse("model:gpt-4o  role:tool\tsince:2026-11-01 \"two words\" refund http://a.test is:");
        assert_eq!(query.words, ["two words", "refund", "http://a.test"]);
        assert_eq!(query.values(Field::Model).collect::<Vec<_>>(), ["gpt-4o"]);
        assert_eq!(query.values(Field::Role).collect::<Vec<_>>(), ["tool"]);
        assert_eq!(query.values(Field::Is).count(), 0);
    }

    #[test]
    fn values_may_be_quoted() {
        for (text, id) in [
            ("id:order/17", "order/17"),
            ("ID:order/17", "order/17"),
            ("id:\"user 5\"", "user 5"),
            ("id:\"a \\\"b\\\" \\\\\"", "a \"b\" \\"),
            ("id:\"not closed", "not closed"),
            ("id:a:b", "a:b"),
        ] {
            assert_eq!(Query::parse(text).values(Field::Id).collect::<Vec<_>>(), [id], "{text}");
        }
        assert_eq!(Query::parse("\"model:a\"").words, ["model:a"]);
    }

    #[test]
    fn times_are_bounds_and_must_be_times() {
        let TimeRange { since, until } =
            Query::parse("since:2026-11-01 since:2026-11-02T10:00:00Z").times().expect("times");
        assert_eq!(since.expect("a time").to_string(), "2026-11-02T10:00:00Z");
        assert_eq!(until, None);
        let error = Query::parse("until:yesterday").times().expect_err("not a time");
        assert!(error.to_string().starts_with("`until:yesterday` is not a time"), "{error}");
    }

    #[test]
    fn one_condition_replaces_the_others_on_its_field() {
        let query = Query::parse("fingerprint:a fingerprint:b refund").with(Field::Fingerprint, "my model/");
        assert_eq!(query.to_string(), "fingerprint:\"my model/\" refund");
        assert_eq!(query.with(Field::Fingerprint, "").to_string(), "refund");
    }

    proptest! {
        #[test]
        fn every_text_parses_and_is_written_so_that_it_parses_to_itself(text in "\\PC*|[a-z:\"\\\\ ]*|(model|id):.*") {
            let query = Query::parse(&text);
            prop_assert_eq!(Query::parse(&query.to_string()), query);
        }
    }
}
