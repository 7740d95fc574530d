//! Lines in one's own format. A table maps their members onto those of a trace.
//!
//! Texts of the conversation, `usage` and the members of `request` are moved into the trace. All other members stay in
//! `log`, so no value is lost.

use std::collections::BTreeMap;

use serde::{Deserialize, de::Error as _};

use super::{
    error::Unmapped,
    json::{Json, Members},
    line_mapping::Defaults,
    messages::to_messages,
    time,
};

/// Names of members. A dot leads into an object: `meta.model`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemberMap {
    id: Option<String>,
    model: Option<String>,
    created: Option<String>,
    /// A text before the list of messages.
    system: Option<String>,
    messages: Option<String>,
    /// The member of a message that names its speaker.
    role: Option<String>,
    content: Option<String>,
    /// Values of `role`, with the role that each one is.
    roles: BTreeMap<String, String>,
    /// Texts of the user and of the assistant behind the list of messages.
    prompt: Option<String>,
    answer: Option<String>,
    usage: Option<String>,
    /// The members of a line that are settings of the request.
    request: Vec<String>,
    session_id: Option<String>,
    user: Option<String>,
    tags: Option<String>,
}

/// The settings of a request that fine-tuning data has next to its messages.
const SETTINGS: [&str; 7] =
    ["tools", "functions", "tool_choice", "function_call", "parallel_tool_calls", "response_format", "temperature"];

/// The names of speakers in ShareGPT's format, as the published data sets have them.
const SPEAKERS: [(&str, &str); 12] = [
    ("human", "user"),
    ("gpt", "assistant"),
    ("chatgpt", "assistant"),
    ("bard", "assistant"),
    ("bing", "assistant"),
    ("claude", "assistant"),
    ("model", "assistant"),
    ("bot", "assistant"),
    ("ai", "assistant"),
    ("function_call", "assistant"),
    ("observation", "tool"),
    ("function_response", "tool"),
];

impl MemberMap {
    /// Reads a table in JSON.
    pub fn read(json: &str) -> Result<Self, serde_json::Error> {
        let map: Self = serde_json::from_str(json)?;
        let has_texts = [&map.messages, &map.prompt, &map.answer].into_iter().any(Option::is_some);
        if has_texts { Ok(map) } else { Err(serde_json::Error::custom("it needs `messages`, `prompt` or `answer`")) }
    }

    /// ShareGPT's format: `{"conversations": [{"from": "human", "value": …}, …]}`.
    pub fn sharegpt() -> Self {
        let name = |name: &str| Some(name.to_owned());
        Self {
            system: name("system"),
            messages: name("conversations"),
            role: name("from"),
            content: name("value"),
            roles: SPEAKERS.iter().map(|(own, role)| ((*own).to_owned(), (*role).to_owned())).collect(),
            ..Self::chat_messages()
        }
    }

    /// The format of fine-tuning data: `{"messages": [{"role": "user", "content": …}, …]}`.
    pub fn chat_messages() -> Self {
        Self {
            messages: Some("messages".to_owned()),
            usage: Some("usage".to_owned()),
            request: SETTINGS.map(ToOwned::to_owned).to_vec(),
            ..Self::default()
        }
    }

    pub fn to_trace(&self, mut line: Members, defaults: &Defaults) -> Result<Members, Unmapped> {
        let at = |path: &Option<String>, line: &Members| path.as_deref().and_then(|path| member(line, path)).cloned();
        let text = |path: &Option<String>, line: &Members| {
            let value = at(path, line).filter(|value| matches!(value, Json::String(_) | Json::Number(_)))?;
            Some(value.to_text()).filter(|text| !text.is_empty())
        };
        let mut trace = Members::default();
        if let Some(id) = text(&self.id, &line) {
            trace.push("id", id);
        }
        let own_model = self.model.clone().or_else(|| Some("model".to_owned()));
        let model = text(&own_model, &line).or_else(|| defaults.model.clone());
        trace.push("model", model.ok_or_else(Unmapped::no_model)?);
        let created = match &self.created {
            Some(path) => member(&line, path).and_then(time::seconds),
            None => time::created(&line),
        };
        trace.push("created", created.or(defaults.created).ok_or_else(Unmapped::no_time)?);
        trace.push("messages", self.messages(&mut line)?);
        let is_object = |value: &Json| value.as_object().is_some();
        if let Some(usage) = self.usage.as_deref().and_then(|path| take(&mut line, path, is_object)) {
            trace.push("usage", usage);
        }
        let labels = [("session_id", &self.session_id), ("user", &self.user), ("tags", &self.tags)];
        let labels = labels.map(|(name, path)| (name, at(path, &line)));
        let mut request = Members::default();
        for path in &self.request {
            // Some data sets have the definitions of tools as a text.
            let is_setting =
                |value: &Json| !matches!(path.as_str(), "tools" | "functions") || value.as_list().is_some();
            if let Some(value) = take(&mut line, path, is_setting) {
                request.set(path.rsplit_once('.').map_or(path.as_str(), |(_, name)| name), value);
            }
        }
        if !request.is_empty() {
            trace.push("request", request);
        }
        for (name, label) in labels {
            if let Some(label) = label {
                trace.push(name, label);
            }
        }
        if !line.is_empty() {
            trace.push("log", line);
        }
        Ok(trace)
    }

    fn messages(&self, line: &mut Members) -> Result<Vec<Json>, Unmapped> {
        let is_text = |value: &Json| value.as_str().is_some();
        let mut items = Vec::new();
        let mut has_texts = false;
        if let Some(text) = self.system.as_deref().and_then(|path| take(line, path, is_text)) {
            items.push(spoken("system", text));
        }
        let is_list = |value: &Json| value.as_list().is_some();
        if let Some(Json::Array(list)) = self.messages.as_deref().and_then(|path| take(line, path, is_list)) {
            has_texts = true;
            items.extend(list.into_iter().enumerate().map(|(place, item)| self.message(place, item)));
        }
        for (path, role) in [(&self.prompt, "user"), (&self.answer, "assistant")] {
            if let Some(text) = path.as_deref().and_then(|path| take(line, path, is_text)) {
                has_texts = true;
                items.push(spoken(role, text));
            }
        }
        if has_texts {
            return Ok(to_messages(items, "user"));
        }
        let names = [&self.messages, &self.prompt, &self.answer].into_iter().flatten().map(|name| format!("`{name}`"));
        let names = names.collect::<Vec<_>>().join(", ");
        Err(Unmapped::Format(format!("The line has no messages: no list and no text in {names}.")))
    }

    /// Converts an element of the list. In a list of texts, the user and the assistant take turns.
    fn message(&self, place: usize, item: Json) -> Json {
        let mut item = match item {
            Json::Object(item) => item,
            Json::String(_) => return spoken(if place.is_multiple_of(2) { "user" } else { "assistant" }, item),
            item => return item,
        };
        let mut message = Members::default();
        let name = self.role.as_deref().unwrap_or("role");
        let own = item.take(name);
        let role =
            own.as_ref().and_then(Json::as_str).and_then(|own| self.roles.get(own)).map(|role| role.as_str().into());
        let translated = own.clone().filter(|_| role.is_some());
        if let Some(role) = role.or(own) {
            message.push("role", role);
        }
        if let Some(content) = item.take(self.content.as_deref().unwrap_or("content")) {
            message.push("content", content);
        }
        // A translated role is kept, and members whose names are taken get another one.
        for (name, value) in translated.map(|own| (name.to_owned(), own)).into_iter().chain(item) {
            let mut free = name;
            while message.contains(&free) {
                free.insert_str(0, "own_");
            }
            message.push(free, value);
        }
        message.into()
    }
}

fn spoken(role: &str, content: Json) -> Json {
    let mut message = Members::default();
    message.push("role", role);
    message.push("content", content);
    message.into()
}

/// Returns the member with this name, or else the one to which its dots lead.
fn member<'a>(line: &'a Members, path: &str) -> Option<&'a Json> {
    if let Some(value) = line.get(path) {
        return Some(value);
    }
    let (name, rest) = path.split_once('.')?;
    member(line.get(name)?.as_object()?, rest)
}

fn take(line: &mut Members, path: &str, is_wanted: impl Fn(&Json) -> bool) -> Option<Json> {
    if line.contains(path) {
        return line.take_if(path, is_wanted);
    }
    let (name, rest) = path.split_once('.')?;
    take(line.get_mut(name)?.as_object_mut()?, rest, is_wanted)
}
