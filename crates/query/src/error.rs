//! The reasons why a string is not a query. Each message says how to write what the user may have meant.

use crate::{field::Field, syntax::Operator};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error(
        "`{name}` is not a field. The fields are {}; the members of a trace are {}. Write another member with a dot \
         before it, such as `.{name}:1`, and a text that contains an operator in quotes",
        fields(), Field::MEMBERS.join(", ")
    )]
    UnknownField { name: String },
    #[error("the quote before `{0}` is not closed")]
    OpenQuote(String),
    #[error(
        "a name in quotes needs another name or a dot before it, such as `.\"my key\":1`; write `\\\"` for a quote in a text"
    )]
    QuotedName,
    #[error("`(` is not closed")]
    OpenParenthesis,
    #[error("`)` closes nothing: write a text that contains it in quotes")]
    ClosingParenthesis,
    #[error("parentheses are nested deeper than {}", crate::parse::MAX_DEPTH)]
    TooDeep,
    #[error("there is nothing {0}: write it in quotes if it is a text")]
    Nothing(&'static str),
    #[error("`{0}` has no field before it: write it in quotes if it is a text")]
    LoneOperator(Operator),
    #[error("`{subject}{operator}` has no value directly behind it")]
    NoValue { subject: String, operator: Operator },
    #[error("`{subject}` is not compared with `{operator}`: use {allowed}")]
    Operator { subject: String, operator: Operator, allowed: &'static str },
    #[error("`{value}` is not a number, with which `{subject}{operator}` compares")]
    Number { subject: String, operator: Operator, value: String },
    #[error(
        "`{value}` is not a time: write `{field}` with 2026, 2026-11, 2026-11-22 or 2026-11-22T10:00:00Z. The fields are {}",
        fields(), field = .field.name()
    )]
    Time { field: Field, value: String },
    #[error("`is:{0}` is unknown: write error, refusal or incomplete")]
    State(String),
    #[error("`{0}` cannot be a fingerprint: {1}")]
    Fingerprint(String, attest::key::KeyError),
    #[error("an empty text would match everything")]
    Empty,
    #[error("an empty query would select every trace")]
    NoQuery,
}

fn fields() -> String {
    Field::ALL.map(|(_, name, _)| name).join(", ")
}
