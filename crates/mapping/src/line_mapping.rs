//! Maps a line of any format onto a trace: a provider's log, or one's own format.

use std::borrow::Cow;

use serde::Deserialize;

use super::{
    anthropic,
    error::Unmapped,
    format::Format,
    json::{self, Json, Members},
    litellm,
    member_map::MemberMap,
    openai_batch, openai_chat, openai_responses, time,
};

#[derive(Debug, Clone)]
pub enum LineFormat {
    Provider(Format),
    Own(Box<MemberMap>),
}

/// The values of lines that do not state them.
#[derive(Debug, Clone, Default)]
pub struct Defaults {
    pub model: Option<String>,
    /// In seconds since 1970.
    pub created: Option<i64>,
}

#[derive(Debug, Clone)]
pub struct LineMapping {
    pub format: LineFormat,
    pub defaults: Defaults,
}

/// The line of the requests file of a batch that belongs to a line of its output.
#[derive(Debug, Clone, Copy)]
pub enum BatchRequest<'a> {
    /// There is no requests file.
    Unknown,
    /// The requests file lacks the request.
    Missing,
    Line(&'a [u8]),
}

impl LineMapping {
    pub fn to_trace(&self, line: &[u8], request: BatchRequest<'_>) -> Result<Vec<u8>, Unmapped> {
        let line = object(line)?;
        let trace = match &self.format {
            LineFormat::Own(map) => map.to_trace(line, &self.defaults),
            LineFormat::Provider(format) => match format {
                Format::OpenaiChat => openai_chat::to_trace(line, &self.defaults),
                Format::OpenaiResponses => openai_responses::to_trace(line, &self.defaults),
                Format::OpenaiBatch => openai_batch::to_trace(line, requested(request)?, &self.defaults),
                Format::Anthropic => anthropic::to_trace(line, &self.defaults),
                Format::Litellm => litellm::to_trace(line, &self.defaults),
                Format::Sharegpt => MemberMap::sharegpt().to_trace(line, &self.defaults),
                Format::Messages => MemberMap::chat_messages().to_trace(line, &self.defaults),
            },
        }?;
        Ok(serde_json::to_vec(&trace).expect("names are strings, and numbers are valid JSON"))
    }
}

fn object(line: &[u8]) -> Result<Members, Unmapped> {
    match json::parse(line)? {
        Json::Object(members) => Ok(members),
        _ => Err(Unmapped::not_an_object()),
    }
}

fn requested(request: BatchRequest<'_>) -> Result<openai_batch::Requested, Unmapped> {
    Ok(match request {
        BatchRequest::Unknown => openai_batch::Requested::Unknown,
        BatchRequest::Missing => openai_batch::Requested::Missing,
        BatchRequest::Line(line) => openai_batch::Requested::Line(object(line)?),
    })
}

/// Returns the `custom_id` of a line of a batch's requests or output.
pub fn custom_id(line: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct BatchLine<'a> {
        #[serde(borrow)]
        custom_id: Cow<'a, str>,
    }
    let line: BatchLine<'_> = serde_json::from_slice(line).ok()?;
    Some(line.custom_id.into_owned())
}

/// Returns the whole seconds since 1970 of a number, a day, or a time as in RFC 3339. A time without an offset is in
/// UTC.
pub fn time_of(text: &str) -> Option<i64> {
    let seconds = |text: String| time::seconds(&Json::from(text));
    seconds(text.to_owned()).or_else(|| seconds(format!("{text}T00:00:00Z")))
}
