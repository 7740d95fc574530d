//! The names that a condition may use.

use std::fmt::Write;

/// A property of a trace with a name of its own. If a member has the same name, the plain name is the field, and
/// `.name` is the member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Fingerprint,
    Id,
    Key,
    Model,
    User,
    Session,
    Tag,
    Role,
    Tool,
    Is,
    Error,
    Created,
    Stored,
    Since,
    Until,
    Size,
    Seconds,
    InputTokens,
    OutputTokens,
    TotalTokens,
}

/// What a field is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Strings, one of which must be equal.
    Text,
    /// A string of which `:` matches a part: its start or any substring, depending on the field.
    Part,
    Number,
    Time,
    /// A storage time that bounds a range.
    Bound,
    State,
}

impl Field {
    /// All fields, with their names and explanations.
    pub const ALL: [(Self, &'static str, &'static str); 20] = [
        (
            Self::Fingerprint,
            "fingerprint",
            "the fingerprint begins with this, as you typed it; = for the whole fingerprint",
        ),
        (Self::Id, "id", "the id contains this, as you typed it; = for the whole id"),
        (Self::Key, "key", "the key in the bucket, such as key:gpt-4o/*"),
        (Self::Model, "model", "the model"),
        (Self::User, "user", "the user of the application"),
        (Self::Session, "session", "the session, conversation or OpenTelemetry trace has this id"),
        (Self::Tag, "tag", "one of the tags"),
        (Self::Role, "role", "a message has this role: system, developer, user, assistant or tool"),
        (Self::Tool, "tool", "a tool of this name is called"),
        (Self::Is, "is", "error, refusal or incomplete"),
        (Self::Error, "error", "the error contains this, ignoring case; = for the whole error"),
        (Self::Created, "created", "the time in the trace, in UTC: 2026, 2026-11, 2026-11-22, 2026-11-22T10:00:00Z"),
        (Self::Stored, "stored", "the time of storage, in UTC, written as for created"),
        (Self::Since, "since", "stored at this time or later, in UTC"),
        (Self::Until, "until", "stored before this time, in UTC"),
        (Self::Size, "size", "the size in bytes, such as size>100000"),
        (Self::Seconds, "seconds", "the duration of the call in seconds"),
        (Self::InputTokens, "input_tokens", "the tokens of the input"),
        (Self::OutputTokens, "output_tokens", "the tokens of the output"),
        (Self::TotalTokens, "total_tokens", "all tokens"),
    ];

    /// The members of a trace that need no dot: those of the schema and of `docs/mapping.md`.
    pub const MEMBERS: [&'static str; 24] = [
        "id",
        "object",
        "model",
        "created",
        "system_fingerprint",
        "messages",
        "choices",
        "usage",
        "api",
        "request_messages",
        "timing",
        "request",
        "response",
        "incomplete",
        "error",
        "unmerged",
        "log",
        "litellm",
        "otel",
        "span",
        "metadata",
        "session_id",
        "user",
        "tags",
    ];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, other, _)| other.eq_ignore_ascii_case(name)).map(|(field, ..)| *field)
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(field, ..)| *field == self).map_or("", |(_, name, _)| name)
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Key | Self::Model | Self::User | Self::Session | Self::Tag | Self::Role | Self::Tool => Kind::Text,
            Self::Fingerprint | Self::Id | Self::Error => Kind::Part,
            Self::Is => Kind::State,
            Self::Created | Self::Stored => Kind::Time,
            Self::Since | Self::Until => Kind::Bound,
            Self::Size | Self::Seconds | Self::InputTokens | Self::OutputTokens | Self::TotalTokens => Kind::Number,
        }
    }

    /// Returns whether a listing entry contains the field.
    pub(crate) fn is_listed(self) -> bool {
        matches!(self, Self::Fingerprint | Self::Id | Self::Key | Self::Stored | Self::Since | Self::Until | Self::Size)
    }

    /// Returns the help text that explains the query language.
    #[must_use]
    pub fn help() -> String {
        let mut help = "\
QUERY contains words, which are searched for in the conversation ignoring case, and conditions on fields and members:

  refund model:gpt-4o log.rating>=4 (is:error or -created:2026-11)

All must hold. `and`, `or`, `not`, `-` and parentheses combine them. Quotes make one word of a text. Operators are
: = > >= < <=. Fields:

"
        .to_owned();
        for (_, name, explanation) in Self::ALL {
            let _ = writeln!(help, "  {name:<13} {explanation}"); // writing to a string cannot fail
        }
        help.push_str(
            "\nMembers of a trace are named by their path, such as usage.total_tokens. The first name is one of\n",
        );
        let mut line = String::from(" ");
        for name in Self::MEMBERS {
            if line.len() + name.len() > 110 {
                help.push_str(&line);
                help.push('\n');
                line = String::from(" ");
            }
            line.extend([" ", name]);
        }
        help.push_str(&line);
        help.push_str(
            ".\nAny other member is written with a dot before it, such as .rating>=4. Times are in UTC. docs/reading.md has more.",
        );
        help
    }
}
