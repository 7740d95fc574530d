//! Output files of OpenAI's Batch API, which contain chat completions and responses, and the errors of failed requests.

use super::{
    call::Call,
    error::Unmapped,
    json::{Json, Members},
    line_mapping::Defaults,
    openai_chat, openai_responses,
};

/// The line of the requests file with the same `custom_id`.
#[derive(Debug)]
pub enum Requested {
    /// There is no requests file.
    Unknown,
    Missing,
    Line(Members),
}

pub fn to_trace(mut line: Members, requested: Requested, defaults: &Defaults) -> Result<Members, Unmapped> {
    let request = request_of(&mut line, requested)?;
    let (response, error) = match line.get_mut("response").and_then(Json::as_object_mut) {
        Some(envelope) if is_success(envelope) => {
            // The members of the envelope keep their positions.
            (envelope.take_object("body").ok_or_else(no_body)?, None)
        }
        Some(envelope) => {
            let mut error = Members::default();
            for (own, name) in [("status", "status_code"), ("body", "body")] {
                let value = if name == "body" { envelope.take(name) } else { envelope.get(name).cloned() };
                if let Some(value) = value {
                    error.push(own, value);
                }
            }
            (Members::default(), Some(error.into()))
        }
        None => {
            let error = line.take_if("error", |error| !error.is_empty());
            (Members::default(), Some(error.ok_or_else(no_body)?))
        }
    };
    let is_response = if error.is_some() {
        request.contains("input") && !request.contains("messages")
    } else {
        response.text("object") == Some("response")
    };
    let shape = if is_response { &openai_responses::SHAPE } else { &openai_chat::SHAPE };
    Call { request, response, error, rest: line, ..Call::default() }.into_trace(shape, "log", defaults)
}

/// Takes the request from the line, or else from the requests file. The rest of that file's line stays in the line.
fn request_of(line: &mut Members, requested: Requested) -> Result<Members, Unmapped> {
    if let Some(request) = line.take_object("request") {
        return Ok(request);
    }
    let mut requested = match requested {
        Requested::Unknown => return Ok(Members::default()),
        Requested::Missing => {
            return Err(Unmapped::Format("The requests file has no line with this `custom_id`.".to_owned()));
        }
        Requested::Line(requested) => requested,
    };
    let request = requested.take_object("body").unwrap_or_default();
    requested.retain(|name, _| name != "custom_id");
    if !requested.is_empty() && !line.contains("request") {
        line.push("request", requested);
    }
    Ok(request)
}

/// Returns whether an envelope has the response of a request that succeeded. A line without a status states no failure.
fn is_success(envelope: &Members) -> bool {
    envelope.get("status_code").and_then(Json::as_u64).is_none_or(|status| (200..300).contains(&status))
}

fn no_body() -> Unmapped {
    Unmapped::Format("The line has no object `response` with an object `body`, and no `error`.".to_owned())
}
