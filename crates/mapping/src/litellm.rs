//! LiteLLM's `StandardLoggingPayload`, for calls to any API.

use super::{
    anthropic::take_content,
    call::{Call, Shape},
    error::Unmapped,
    json::{Json, Members},
    openai_responses::{PROMPTS, take_output},
    time,
};

const SHAPE: Shape = Shape { api: "litellm", prompts: &[], list: "messages", take_answer };

const RESPONSES: Shape = Shape { prompts: PROMPTS, ..SHAPE };

pub fn to_trace(mut payload: Members) -> Result<Members, Unmapped> {
    let mut request = Members::default();
    for name in ["model", "messages"] {
        if let Some(value) = payload.take(name) {
            request.push(name, value);
        }
    }
    let are_separate = |parameters: &Json| {
        let parameters = parameters.as_object();
        parameters.is_some_and(|own| !own.is_empty() && !own.contains("model") && !own.contains("messages"))
    };
    if let Some(Json::Object(parameters)) = payload.take_if("model_parameters", are_separate) {
        request.append(parameters);
    }
    let response = payload.take_object("response").unwrap_or_default();
    let created = payload.get("startTime").and_then(time::seconds);
    let is_responses_call = payload.text("call_type").is_some_and(|kind| kind.ends_with("responses"));
    let shape = if is_responses_call { &RESPONSES } else { &SHAPE };
    Call { request, response, created, rest: payload, ..Call::default() }.into_trace(shape, "litellm")
}

/// Moves the answer out of a response, whose form depends on the API that was called.
fn take_answer(response: &mut Members) -> Vec<Json> {
    if response.text("object") == Some("response") && matches!(response.get("output"), Some(Json::Array(_))) {
        take_output(response)
    } else if response.text("type") == Some("message") {
        take_content(response)
    } else {
        Vec::new()
    }
}
