//! Bytes → [`Trace`]: parsed, valid under the published schema, complete.
//!
//! The body is walked once, over the bytes as they came, and what is stored is those bytes with the absent members
//! behind the last: no number, string or order is ever printed anew. The schema sees a *view* of the trace that is
//! small whatever the trace's size: the members it names, each without its depths, and the messages one by one.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
};

use jiter::{Jiter, JiterError, JiterErrorType, JsonErrorType, Peek};
use jsonschema::ValidationError;
use serde_json::{Map, Value};

use crate::{
    key::Key,
    problem::{Problem, Violation, Violations},
};

/// The value of `object` where a trace has none.
pub const DEFAULT_OBJECT: &str = "chat.trace";

/// How deep arrays and objects may nest; RFC 8259, section 9, lets a parser set a limit.
pub const MAX_DEPTH: usize = 128;

/// The published schema, compiled into this program when it is built.
#[jsonschema::validator(path = "src/trace.schema.json", draft = Draft4, methods = { validate = false })]
struct TraceSchema;

/// The part of it for one message.
#[jsonschema::validator(
    schema = r##"{"$schema": "http://json-schema.org/draft-04/schema#", "allOf": [{"$ref": "trace#/properties/messages/items"}]}"##,
    draft = Draft4,
    base_uri = "json-schema:///message",
    resources = { "json-schema:///trace" => { path = "src/trace.schema.json" } },
    methods = { validate = false }
)]
struct MessageSchema;

/// A trace as it is stored: valid under the schema, with every default filled in.
#[derive(Debug)]
pub struct Trace {
    /// The JSON text: what was sent, and behind its last member those that were absent.
    pub json: Vec<u8>,
    /// Its `id`.
    pub id: String,
    /// Its `system_fingerprint`.
    pub fingerprint: String,
    /// Its `object`.
    pub object: String,
    /// Where it is stored.
    pub key: Key,
}

impl Trace {
    /// Reads a trace from a request's body and completes it; `assign_id` gives the id that it lacks.
    pub fn parse(mut json: Vec<u8>, assign_id: impl FnOnce() -> String) -> Result<Self, Problem> {
        let text =
            simdutf8::compat::from_utf8(&json).map_err(|error| Problem::NotUtf8 { offset: error.valid_up_to() })?;
        let Members { id, fingerprint, object, model } = Walk::new(text).trace()?;

        let mut absent = Vec::new();
        let mut complete = |name: &str, value: &str| {
            absent.extend_from_slice(b",\"");
            absent.extend_from_slice(name.as_bytes());
            absent.extend_from_slice(b"\":");
            absent.extend_from_slice(value.as_bytes());
        };
        let id = id.unwrap_or_else(|| {
            let id = assign_id();
            complete("id", &Value::from(id.as_str()).to_string());
            id
        });
        let fingerprint = match fingerprint {
            Some(fingerprint) => fingerprint,
            None => {
                complete("system_fingerprint", &Value::from(model.as_str()).to_string());
                model
            }
        };
        let object = object.unwrap_or_else(|| {
            complete("object", &Value::from(DEFAULT_OBJECT).to_string());
            DEFAULT_OBJECT.to_owned()
        });
        let key = Key::new(&fingerprint, &id).map_err(Problem::Key)?;
        if !absent.is_empty() {
            let end = json.iter().rposition(|byte| *byte == b'}').expect("a valid trace is an object");
            json.truncate(end);
            json.append(&mut absent);
            json.push(b'}');
        }
        Ok(Self { json, id, fingerprint, object, key })
    }
}

/// Whether two texts are the same trace: their members have the same names and, as they are written, the same values.
/// The members' order does not count, nor does the white space between them.
#[must_use]
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    let members = |json| Walk::new(std::str::from_utf8(json).ok()?).sorted_members().ok();
    members(one).is_some_and(|one| Some(one) == members(other))
}

/// The members of a trace that [`TraceSchema`] names. A test holds this to the schema.
const TRACE_MEMBERS: [&str; 8] =
    ["model", "created", "system_fingerprint", "id", "object", "messages", "choices", "usage"];

/// The members of a message that [`MessageSchema`] names. A test holds this to the schema.
const MESSAGE_MEMBERS: [&str; 2] = ["role", "content"];

/// How many bytes, quotes included, of a message's string [`MessageSchema`] is shown: more than any value that it names.
/// A test holds this to the schema.
const MAX_SHOWN: usize = 64;

/// The longest message, in bytes, that [`Walk::refused`] remembers. The schema's time for longer ones is small beside the
/// walk's.
const MAX_REMEMBERED: usize = 64;

/// How many messages it remembers. There are fewer that are so short that the schema's time would count.
const MAX_REFUSED: usize = 4096;

/// What [`Trace::parse`] needs of the members of a valid trace.
struct Members {
    id: Option<String>,
    fingerprint: Option<String>,
    object: Option<String>,
    model: String,
}

/// Why a walk ended before the end of the text.
enum Stop {
    Syntax(JsonErrorType, usize),
    TooDeep(usize),
}

impl From<JiterError> for Stop {
    fn from(error: JiterError) -> Self {
        match error.error_type {
            JiterErrorType::JsonError(kind) => Self::Syntax(kind, error.index),
            // Only calls that expect a certain type say this, and the walk peeks before each.
            JiterErrorType::WrongType { .. } => Self::Syntax(JsonErrorType::ExpectedSomeValue, error.index),
        }
    }
}

/// One step of the way from the root of the text to the value that is being read.
enum Step<'t> {
    Name(Cow<'t, str>),
    Index(usize),
}

/// One pass over a text: it checks the syntax, refuses repeated names and collects what the schema refuses.
struct Walk<'t> {
    text: &'t str,
    jiter: Jiter<'t>,
    path: Vec<Step<'t>>,
    violations: Violations,
    /// How many violations a short message has: a flood of them must not ask the schema a million times.
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

    /// Reads the whole text as a trace.
    fn trace(mut self) -> Result<Members, Problem> {
        match self.root() {
            Ok(_) if !self.violations.is_empty() => Err(Problem::Invalid(self.violations)),
            Ok(mut view) => {
                let mut string = |name: &str| match view.get_mut(name) {
                    Some(Value::String(value)) => Some(std::mem::take(value)),
                    _ => None,
                };
                Ok(Members {
                    id: string("id"),
                    fingerprint: string("system_fingerprint"),
                    object: string("object"),
                    model: string("model").expect("the schema asks for it"),
                })
            }
            Err(stop) => {
                let (detail, index) = match stop {
                    Stop::Syntax(kind, index) => (kind.to_string(), index),
                    Stop::TooDeep(index) => (format!("nested deeper than {MAX_DEPTH} levels"), index),
                };
                let at = self.jiter.error_position(index);
                Err(Problem::NotJson { detail, line: at.line, column: at.column })
            }
        }
    }

    /// Walks the root value and holds its view against the schema.
    fn root(&mut self) -> Result<Value, Stop> {
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

    /// Walks an object and gives its members' names and texts, sorted.
    fn sorted_members(mut self) -> Result<Vec<(Cow<'t, str>, &'t str)>, Stop> {
        if self.jiter.peek()? != Peek::Object {
            return Err(Stop::Syntax(JsonErrorType::ExpectedSomeValue, 0));
        }
        let mut members = Vec::new();
        self.object(|walk, name, peek| {
            let from = walk.jiter.current_index();
            walk.skip(peek)?;
            members.push((name, &walk.text[from..walk.jiter.current_index()]));
            Ok(())
        })?;
        members.sort_unstable();
        Ok(members)
    }

    /// Walks one message and holds it against its schema, so that only one is in memory at a time.
    fn message(&mut self, peek: Peek) -> Result<(), Stop> {
        let from = self.jiter.current_index();
        let view = if peek == Peek::Object {
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
        let view = view.unwrap_or_else(|| value(peek, text, MAX_SHOWN));
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

    /// Walks a value and gives its view: of an object those members that `names` has, each without what is in it. Of a
    /// string over `max_shown` bytes, as it is written, the view tells only that it is one.
    fn members(&mut self, peek: Peek, names: &[&str], max_shown: usize) -> Result<Value, Stop> {
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

    /// Walks a value and gives its view: a scalar as it is, an array or object without what is in it.
    fn view(&mut self, peek: Peek, max_shown: usize) -> Result<Value, Stop> {
        let from = self.jiter.current_index();
        self.skip(peek)?;
        Ok(value(peek, &self.text[from..self.jiter.current_index()], max_shown))
    }

    /// Walks a value that the schema does not look into.
    fn skip(&mut self, peek: Peek) -> Result<(), Stop> {
        match peek {
            Peek::Array => self.array(Self::skip),
            Peek::Object => self.object(|walk, _, peek| walk.skip(peek)),
            _ => Ok(self.jiter.known_skip(peek)?),
        }
    }

    fn array(&mut self, mut item: impl FnMut(&mut Self, Peek) -> Result<(), Stop>) -> Result<(), Stop> {
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
        mut member: impl FnMut(&mut Self, Cow<'t, str>, Peek) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
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

    /// The name that was read last, behind `from`, its escapes resolved.
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

    /// The path's length is the nesting depth.
    fn check_depth(&self) -> Result<(), Stop> {
        if self.path.len() < MAX_DEPTH { Ok(()) } else { Err(Stop::TooDeep(self.jiter.current_index())) }
    }
}

/// The view of a value that was walked: a scalar as it is, an array or object without what is in it, and a string over
/// `max_shown` bytes, as it is written, without what it says.
fn value(peek: Peek, text: &str, max_shown: usize) -> Value {
    match peek {
        Peek::String if text.len() > max_shown => Value::String(String::new()),
        Peek::Array => Value::Array(Vec::new()),
        Peek::Object => Value::Object(Map::new()),
        _ => serde_json::from_str(text).expect("what jiter has walked is JSON, and a scalar has no depth"),
    }
}

/// What the schema refuses below `parent`, without quoting the value.
fn violation(parent: &str, error: &ValidationError<'_>) -> Violation {
    Violation { pointer: format!("{parent}{}", error.instance_path()), detail: error.masked().to_string() }
}

/// A path as a JSON Pointer (RFC 6901).
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

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Value {
        serde_json::from_str(include_str!("trace.schema.json")).expect("the schema is JSON")
    }

    fn names(schema: &Value) -> BTreeSet<&str> {
        schema["properties"].as_object().expect("an object's schema").keys().map(String::as_str).collect()
    }

    /// The view leaves out depths and splits the messages off: right only while the schema does not look there.
    #[test]
    fn the_view_shows_all_that_the_schema_looks_at() {
        let schema = schema();
        let message = &schema["properties"]["messages"]["items"];
        assert_eq!(names(&schema), BTreeSet::from(TRACE_MEMBERS));
        assert_eq!(names(message), BTreeSet::from(MESSAGE_MEMBERS));
        let keywords = |schema: &Value, of: &[&str]| {
            for keyword in schema.as_object().expect("a schema is an object").keys() {
                let known = ["type", "description", "default", "enum"].contains(&keyword.as_str());
                assert!(known || of.contains(&keyword.as_str()), "the view knows nothing of `{keyword}`");
            }
        };
        keywords(&schema, &["$schema", "required", "properties"]);
        keywords(message, &["required", "properties"]);
        keywords(&schema["properties"]["messages"], &["items"]);
        for (name, member) in schema["properties"].as_object().expect("checked above") {
            if name != "messages" {
                keywords(member, &[]);
            }
        }
        for member in message["properties"].as_object().expect("checked above").values() {
            keywords(member, &[]);
            for value in member["enum"].as_array().into_iter().flatten() {
                // A byte takes six at most, as `\u0061`.
                assert!(value.as_str().is_none_or(|value| !value.is_empty() && value.len() * 6 + 2 <= MAX_SHOWN));
            }
        }
    }
}
