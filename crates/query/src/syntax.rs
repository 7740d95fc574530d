//! The syntax tree of a query, and its formatting.

use std::fmt;

use attest_mapping::{LetterCase, Needle};

use crate::{QueryError, field::Field, test::Test};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// All parts must match. Without parts, it is the empty query.
    All(Vec<Expression>),
    /// At least one part must match.
    Either(Vec<Expression>),
    Not(Box<Expression>),
    Condition(Condition),
    Word(Word),
}

impl Default for Expression {
    fn default() -> Self {
        Self::All(Vec::new())
    }
}

impl Expression {
    /// Combines parts so that equivalent queries compare equal: flattens nested [`All`](Self::All)s, and returns a
    /// single part as it is.
    pub fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut all = parts.into_iter().flat_map(Self::into_all).collect::<Vec<_>>();
        if all.len() == 1 { all.swap_remove(0) } else { Self::All(all) }
    }

    /// Combines at least one part, as [`all`](Self::all) does.
    pub fn either(parts: Vec<Self>) -> Self {
        let flat = |part| match part {
            Self::Either(parts) => parts,
            part => vec![part],
        };
        let mut either = parts.into_iter().flat_map(flat).collect::<Vec<_>>();
        if either.len() == 1 { either.swap_remove(0) } else { Self::Either(either) }
    }

    pub fn not(self) -> Self {
        match self {
            Self::Not(negated) => *negated,
            other => Self::Not(Box::new(other)),
        }
    }

    /// Returns the parts that must all match.
    pub fn all_of(&self) -> &[Self] {
        match self {
            Self::All(parts) => parts,
            part => std::slice::from_ref(part),
        }
    }

    pub fn into_all(self) -> Vec<Self> {
        match self {
            Self::All(parts) => parts,
            part => vec![part],
        }
    }

    /// Returns the value if this is a condition `field:value`.
    pub fn as_value_of(&self, field: Field) -> Option<&str> {
        match self {
            Self::Condition(Condition { subject: Subject::Field(own), operator: Operator::Is, value, .. })
                if *own == field && !value.is_prefix =>
            {
                Some(&value.text)
            }
            _ => None,
        }
    }

    /// Returns whether the expression contains a word, or a condition that `is_wanted` accepts.
    pub fn any_condition(&self, is_wanted: &impl Fn(&Condition) -> bool) -> bool {
        match self {
            Self::All(parts) | Self::Either(parts) => parts.iter().any(|part| part.any_condition(is_wanted)),
            Self::Not(negated) => negated.any_condition(is_wanted),
            Self::Condition(condition) => is_wanted(condition),
            Self::Word(_) => true,
        }
    }

    pub fn words<'a>(&'a self, words: &mut Vec<&'a str>) {
        match self {
            Self::All(parts) | Self::Either(parts) => parts.iter().for_each(|part| part.words(words)),
            Self::Word(word) => words.push(&word.text),
            Self::Not(_) | Self::Condition(_) => {}
        }
    }
}

/// Text to find in the conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    pub text: String,
    pub needle: Needle,
}

impl Word {
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), needle: Needle::new(text, LetterCase::Ignored) }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub subject: Subject,
    pub operator: Operator,
    pub value: Value,
    /// The test that `subject`, `operator` and `value` define.
    pub test: Test,
}

impl Condition {
    pub fn new(subject: Subject, operator: Operator, value: Value) -> Result<Self, QueryError> {
        let test = Test::of(&subject, operator, &value)?;
        Ok(Self { subject, operator, value, test })
    }

    pub fn of_field(field: Field, value: &str) -> Result<Self, QueryError> {
        let value = Value { text: value.to_owned(), is_prefix: false };
        Self::new(Subject::Field(field), Operator::Is, value)
    }

    pub fn needs_content(&self) -> bool {
        !matches!(self.subject, Subject::Field(field) if field.is_listed())
    }
}

/// The left side of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    Field(Field),
    Member(Path),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Whether the path starts with a dot.
    pub is_own: bool,
    /// At least one name.
    pub names: Vec<String>,
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

impl Operator {
    /// All operators, each before its own prefixes.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::AtLeast, ">="),
        (Self::AtMost, "<="),
        (Self::Greater, ">"),
        (Self::Less, "<"),
        (Self::Equal, "="),
        (Self::Is, ":"),
    ];
}

/// The right side of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    pub text: String,
    /// Whether a `*` follows the text.
    pub is_prefix: bool,
}

impl Value {
    /// Returns the text with its `*`.
    pub fn literal(&self) -> String {
        if self.is_prefix { format!("{}*", self.text) } else { self.text.clone() }
    }
}

/// Returns whether a word is `and`, `or` or `not`, which must be quoted to be searched for.
pub fn is_keyword(word: &str) -> bool {
    ["and", "or", "not"].iter().any(|keyword| word.eq_ignore_ascii_case(keyword))
}

/// Returns whether a character may be in an unquoted name.
pub fn is_of_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-')
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(parts) => write_joined(f, parts, " ", |part| matches!(part, Self::Either(_))),
            Self::Either(parts) => write_joined(f, parts, " or ", |_| false),
            Self::Not(negated) => match **negated {
                Self::All(_) | Self::Either(_) => write!(f, "not ({negated})"),
                _ => write!(f, "not {negated}"),
            },
            Self::Condition(Condition { subject, operator, value, .. }) => write!(f, "{subject}{operator}{value}"),
            Self::Word(word) => {
                let text = &word.text;
                let is_bare = text.chars().all(is_plain) && !text.starts_with('-') && !is_keyword(text);
                write_text(f, text, is_bare)
            }
        }
    }
}

fn write_joined(
    f: &mut fmt::Formatter<'_>,
    parts: &[Expression],
    separator: &str,
    is_enclosed: impl Fn(&Expression) -> bool,
) -> fmt::Result {
    for (at, part) in parts.iter().enumerate() {
        f.write_str(if at == 0 { "" } else { separator })?;
        if is_enclosed(part) { write!(f, "({part})")? } else { write!(f, "{part}")? }
    }
    Ok(())
}

/// Returns whether a character stands for itself in unquoted text.
fn is_plain(character: char) -> bool {
    is_of_name(character) || ".,/@+%#~;!?'&$^|{}[]".contains(character)
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str, is_bare: bool) -> fmt::Result {
    if is_bare && !text.is_empty() {
        f.write_str(text)
    } else {
        write!(f, "\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_bare = self.text.chars().all(|character| is_plain(character) || character == ':');
        let is_bare = is_bare && !self.text.starts_with('/');
        if !(self.is_prefix && self.text.is_empty()) {
            write_text(f, &self.text, is_bare)?;
        }
        f.write_str(if self.is_prefix { "*" } else { "" })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(field) => f.write_str(field.name()),
            Self::Member(Path { is_own, names }) => {
                let mut separator = if *is_own { "." } else { "" };
                for name in names {
                    f.write_str(separator)?;
                    write_text(f, name, name.chars().all(is_of_name))?;
                    separator = ".";
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(operator, _)| operator == self).map_or("", |(_, text)| text))
    }
}
