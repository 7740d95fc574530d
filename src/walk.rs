//! Walks a JSON text in one pass, without building a document.
//!
//! The pass checks the syntax, refuses repeated names and collects schema violations. It takes time linear in the size
//! of the text, whatever the text contains.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
};

use jiter::{Jiter, JiterError, JiterErrorType, JsonErrorType, Peek};
use serde_json::{Map, Value};

use crate::{
    problem::{Problem, Violation, Violations},
    schema::{MAX_SHOWN, MESSAGE_MEMBERS, MessageSchema, TRACE_MEMBERS, TraceSchema, view, violation},
};

/// The deepest nesting of arrays and objects. RFC 8259, section 9, allows a parser to set a limit.
pub const MAX_DEPTH: usize = 128;

/// The longest message, in bytes, that [`Walk::refused`] remembers. For longer messages, walking costs more than
/// validating.
const MAX_REMEMBERED: usize = 64;

/// The largest number of messages that [`Walk::refused`] remembers. Few different messages are short enough to matter.
const MAX_REFUSED: usize = 4096;

/// The members of a valid trace that are needed to complete it.
pub(crate) struct KeyMembers {
    pub(crate) id: Option<String>,
    pub(crate) fingerprint: Option<String>,
    pub(crate) object: Option<String>,
    pub(crate) model: String,
}

pub(crate) fn members_of_trace(text: &str) -> Result<KeyMembers, Problem> {
    let mut walk = Walk::new(text);
    match walk.root() {
        Ok(_) if !walk.violations.is_empty() => Err(Problem::Invalid(walk.violations)),
        Ok(mut view) => {
            let mut string = |name: &str| match view.get_mut(name) {
                Some(Value::String(value)) => Some(std::mem::take(value)),
                _ => None,
            };
            Ok(KeyMembers {
                id: string("id"),
                fingerprint: string("system_fingerprint"),
                object: string("object"),
                model: string("model").expect("the schema requires it"),
            })
        }
        Err(stop) => {
            let (detail, index) = match stop {
                // jiter has no other cause for these two kinds.
                WalkEnd::Syntax(
                    JsonErrorType::LoneLeadingSurrogateInHexEscape | JsonErrorType::UnexpectedEndOfHexEscape,
                    index,
                ) => {
                    ("unpaired surrogate escape, which is not Unicode text (RFC 7493, section 2.1),".to_owned(), index)
                }
                WalkEnd::Syntax(kind, index) => (kind.to_string(), index),
                WalkEnd::TooDeep(index) => (format!("nested deeper than {MAX_DEPTH} levels"), index),
            };
            let at = walk.jiter.error_position(index);
            Err(Problem::NotJson { detail, line: at.line, column: at.column })
        }
    }
}

/// Returns the name and the JSON text of each member of an object, sorted. Returns `None` if `text` is not a JSON
/// object.
pub(crate) fn sorted_members(text: &str) -> Option<Vec<(Cow<'_, str>, &str)>> {
    let mut walk = Walk::new(text);
    if walk.jiter.peek().ok()? != Peek::Object {
        return None;
    }
    let mut members = Vec::new();
    let walked = walk.object(|walk, name, peek| {
        let from = walk.jiter.current_index();
        walk.skip(peek)?;
        members.push((name, &walk.text[from..walk.jiter.current_index()]));
        Ok(())
    });
    walked.ok()?;
    members.sort_unstable();
    Some(members)
}

/// The reason why a walk ended before the end of the text, with the offset of the error in bytes.
enum WalkEnd {
    Syntax(JsonErrorType, usize),
    TooDeep(usize),
}

impl From<JiterError> for WalkEnd {
    fn from(error: JiterError) -> Self {
        match error.error_type {
            JiterErrorType::JsonError(kind) => Self::Syntax(kind, error.index),
            // Only calls that expect a certain type return this error, and the walk peeks before each of them.
            JiterErrorType::WrongType { .. } => Self::Syntax(JsonErrorType::ExpectedSomeValue, error.index),
        }
    }
}

/// One step of the path from the root to the current value.
enum Step<'t> {
    Name(Cow<'t, str>),
    Index(usize),
}

struct Walk<'t> {
    text: &'t str,
    jiter: Jiter<'t>,
    path: Vec<Step<'t>>,
    violations: Violations,
    /// The number of violations in each short message, so that a million equal messages are validated once.
    refused: HashMap<&'t str, usize>,
}

impl<'t> Walk<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            jiter: Jiter::new(text.as_bytes()),
            path: Vec::new(),
            violations: Violations::default(),
            refused: HashMap::new(),
        }
    }

    /// Walks the root value and validates its view.
    fn root(&mut self) -> Result<Value, WalkEnd> {
        let peek = self.jiter.peek()?;
        let view = self.members(peek, &TRACE_MEMBERS, usize::MAX)?;
        self.jiter.finish()?;
        if !TraceSchema::is_valid(&view) {
            for error in TraceSchema::iter_errors(&view) {
                self.violations.push(|| violation("", &error));
            }
        }
        Ok(view)
    }

    /// Walks one message and validates it, so that only one view of a message is in memory at a time.
    fn message(&mut self, peek: Peek) -> Result<(), WalkEnd> {
        let from = self.jiter.current_index();
        let members = if peek == Peek::Object {
            Some(self.members(peek, &MESSAGE_MEMBERS, MAX_SHOWN)?)
        } else {
            self.skip(peek)?;
            None
        };
        let text = &self.text[from..self.jiter.current_index()];
        if self.violations.is_full()
            && let Some(count) = self.refused.get(text)
        {
            self.violations.add(*count);
            return Ok(());
        }
        let view = members.unwrap_or_else(|| view(peek, text, MAX_SHOWN));
        if !MessageSchema::is_valid(&view) {
            let before = self.violations.count();
            for error in MessageSchema::iter_errors(&view) {
                self.violations.push(|| violation(&pointer(&self.path), &error));
            }
            if text.len() <= MAX_REMEMBERED && self.refused.len() < MAX_REFUSED {
                self.refused.insert(text, self.violations.count() - before);
            }
        }
        Ok(())
    }

    /// Walks a value and returns its view. The view of an object contains the members in `names`, each without nested
    /// values.
    fn members(&mut self, peek: Peek, names: &[&str], max_shown: usize) -> Result<Value, WalkEnd> {
        if peek != Peek::Object {
            return self.view(peek, max_shown);
        }
        let mut members = Map::new();
        self.object(|walk, name, peek| {
            if !names.contains(&&*name) {
                return walk.skip(peek);
            }
            let value = if peek == Peek::Array && walk.is_at_messages() {
                walk.array(Self::message)?;
                Value::Array(Vec::new())
            } else {
                walk.view(peek, max_shown)?
            };
            members.insert(name.into_owned(), value);
            Ok(())
        })?;
        Ok(Value::Object(members))
    }

    fn is_at_messages(&self) -> bool {
        matches!(&self.path[..], [Step::Name(name)] if name == "messages")
    }

    /// Walks a value and returns its view without nested values.
    fn view(&mut self, peek: Peek, max_shown: usize) -> Result<Value, WalkEnd> {
        let from = self.jiter.current_index();
        self.skip(peek)?;
        Ok(view(peek, &self.text[from..self.jiter.current_index()], max_shown))
    }

    /// Walks a value that the schema does not constrain.
    fn skip(&mut self, peek: Peek) -> Result<(), WalkEnd> {
        match peek {
            Peek::Array => self.array(Self::skip),
            Peek::Object => self.object(|walk, _, peek| walk.skip(peek)),
            _ => Ok(self.jiter.known_skip(peek)?),
        }
    }

    fn array(&mut self, mut item: impl FnMut(&mut Self, Peek) -> Result<(), WalkEnd>) -> Result<(), WalkEnd> {
        self.check_depth()?;
        let mut next = self.jiter.known_array()?;
        for index in 0.. {
            let Some(peek) = next else { break };
            self.path.push(Step::Index(index));
            item(self, peek)?;
            self.path.pop();
            next = self.jiter.array_step()?;
        }
        Ok(())
    }

    fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, Cow<'t, str>, Peek) -> Result<(), WalkEnd>,
    ) -> Result<(), WalkEnd> {
        self.check_depth()?;
        let mut names = BTreeSet::new();
        let mut from = self.jiter.current_index();
        let mut has_next = self.jiter.known_object()?.is_some();
        while has_next {
            let name = self.name(from);
            self.path.push(Step::Name(name.clone()));
            if !names.insert(name.clone()) {
                self.violations.push(|| Violation {
                    pointer: pointer(&self.path),
                    detail: "This name occurs more than once in its object.".to_owned(),
                });
            }
            let peek = self.jiter.peek()?;
            member(self, name, peek)?;
            self.path.pop();
            from = self.jiter.current_index();
            has_next = self.jiter.next_key()?.is_some();
        }
        Ok(())
    }

    /// Returns the name that jiter has just read after `from`, with its escapes resolved.
    fn name(&self, from: usize) -> Cow<'t, str> {
        let text = &self.text[from..self.jiter.current_index()];
        let quotes = text.find('"').zip(text.rfind('"'));
        let (start, end) = quotes.expect("jiter has just read a name here, between two quotes");
        let name = &text[start + 1..end];
        if name.contains('\\') {
            Cow::Owned(serde_json::from_str(&text[start..=end]).expect("jiter has checked the escapes"))
        } else {
            Cow::Borrowed(name)
        }
    }

    /// Fails if another level would exceed [`MAX_DEPTH`]. The length of the path is the current depth.
    fn check_depth(&self) -> Result<(), WalkEnd> {
        if self.path.len() < MAX_DEPTH { Ok(()) } else { Err(WalkEnd::TooDeep(self.jiter.current_index())) }
    }
}

/// Formats a path as a JSON Pointer (RFC 6901).
fn pointer(path: &[Step<'_>]) -> String {
    let mut pointer = String::new();
    for step in path {
        pointer.push('/');
        match step {
            Step::Name(name) => pointer.push_str(&name.replace('~', "~0").replace('/', "~1")),
            Step::Index(index) => pointer.push_str(&index.to_string()),
        }
    }
    pointer
}
