//! Builds the trace of a call. A [`Shape`] describes the differences between APIs.

use super::{
    error::Unmapped,
    json::{Json, Members},
    messages::{text, to_messages},
    time,
};

/// Where an API keeps prompts, messages and answers.
pub struct Shape {
    /// The name of the API in the trace.
    pub api: &'static str,
    /// Prompts outside the list of messages, in the order of the conversation.
    pub prompts: &'static [Prompt],
    /// The request member that contains the list of messages or items.
    pub list: &'static str,
    /// Moves the answer out of a response without `choices`.
    pub take_answer: fn(&mut Members) -> Vec<Json>,
}

/// A request member that becomes a message.
pub struct Prompt {
    pub member: &'static str,
    pub role: &'static str,
    /// Whether a list is a prompt, too. Otherwise, the list contains the conversation's items.
    pub may_be_list: bool,
}

#[derive(Default)]
pub struct Call {
    pub request: Members,
    pub response: Members,
    /// The time of the call, for a response without a time.
    pub created: Option<i64>,
    pub incomplete: Option<Json>,
    pub error: Option<Json>,
    /// All members that belong to neither the request nor the response.
    pub rest: Members,
}

impl Call {
    /// Reads `{"request": …, "response": …}`, where the response may be missing if the call failed. Also reads a
    /// stored answer, which is a response with the request's member `list`. A stored answer is recognized by its
    /// member `answer`.
    pub fn read(mut line: Members, list: &str, answer: Option<&str>) -> Result<Self, Unmapped> {
        if let Some(request) = line.take_object("request") {
            let response = line.take_object("response").unwrap_or_default();
            let error = line.take_if("error", |error| !matches!(error, Json::Null));
            let incomplete = line.take_if("incomplete", |why| why.as_str().is_some_and(|why| !why.is_empty()));
            let created = time::created(&line);
            return Ok(Self { request, response, created, incomplete, error, rest: line });
        }
        if line.contains("request") || !answer.is_some_and(|answer| line.contains(answer)) {
            let or = answer.map(|answer| format!(", and no `{answer}` of a stored answer")).unwrap_or_default();
            return Err(Unmapped::Format(format!("The line has no object `request`{or}.")));
        }
        let request = line.take(list).map(|value| (list.to_owned(), value));
        Ok(Self { request: request.into_iter().collect(), response: line, ..Self::default() })
    }

    /// Builds the trace. `rest` is the name of the member for [`Call::rest`].
    pub fn into_trace(mut self, shape: &Shape, rest: &str) -> Result<Members, Unmapped> {
        let mut trace = Members::default();
        let model = [&self.response, &self.request].into_iter().find_map(|source| model(source));
        trace.push("model", model.ok_or_else(|| Unmapped::Format("The line has no `model`.".to_owned()))?);
        let requested = || self.request.get("created").and_then(time::seconds);
        let created = time::created(&self.response).or(self.created).or_else(requested);
        trace.push("created", created.ok_or_else(|| Unmapped::Format("The line has no time `created`.".to_owned()))?);
        match self.response.get("system_fingerprint") {
            Some(Json::Number(number)) => trace.push("system_fingerprint", number.get()),
            Some(Json::String(text)) if !text.is_empty() => trace.push("system_fingerprint", text.as_str()),
            _ => {}
        }

        let mut messages = take_prompts(&mut self.request, shape.prompts);
        let is_filled = |list: &Json| list.as_list().is_some_and(|list| !list.is_empty());
        if let Some(Json::Array(items)) = self.request.take_if(shape.list, is_filled) {
            messages.extend(to_messages(items, "user"));
        }
        let request_messages = i64::try_from(messages.len()).expect("the length of a list fits into 63 bits");
        let choices = self.response.take_list("choices");
        let answer = match &choices {
            Some(choices) => choices.first().and_then(chosen_message).cloned().into_iter().collect(),
            None => (shape.take_answer)(&mut self.response),
        };
        messages.extend(to_messages(answer, "assistant"));

        trace.push("messages", messages);
        if let Some(choices) = choices {
            let by_place = choices.into_iter().enumerate().map(|(place, choice)| (place.to_string(), choice));
            trace.push("choices", by_place.collect::<Members>());
        }
        if let Some(usage) = self.response.take_object("usage") {
            trace.push("usage", usage);
        }
        trace.push("api", shape.api);
        trace.push("request_messages", request_messages);
        let objects = |name, members: Members| (name, (!members.is_empty()).then(|| Json::from(members)));
        let optional = [
            objects("request", self.request),
            objects("response", self.response),
            ("incomplete", self.incomplete),
            ("error", self.error),
            objects(rest, self.rest),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                trace.push(name, value);
            }
        }
        Ok(trace)
    }
}

fn model(source: &Members) -> Option<&str> {
    source.text("model").filter(|model| !model.is_empty())
}

fn chosen_message(choice: &Json) -> Option<&Json> {
    choice.as_object()?.get("message").filter(|message| message.as_object().is_some())
}

fn take_prompts(request: &mut Members, prompts: &[Prompt]) -> Vec<Json> {
    let mut messages = Vec::new();
    for Prompt { member, role, may_be_list } in prompts {
        let is_prompt = |value: &Json| match value {
            Json::String(_) => true,
            Json::Array(_) => *may_be_list,
            _ => false,
        };
        let Some(value) = request.take_if(member, is_prompt) else { continue };
        let mut message = Members::default();
        message.push("role", *role);
        message.push("content", text(Some(&value), "user"));
        message.push("member", *member);
        if value.as_list().is_some() {
            message.push("original", value);
        }
        messages.push(message.into());
    }
    messages
}
