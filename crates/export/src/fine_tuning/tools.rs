//! An example's tools: function definitions and calls in the Chat Completions format.

use std::borrow::Cow;

use attest_mapping::json::{Json, Members};
use serde::Serialize;

use super::refusal::NoExample;

#[derive(Serialize)]
#[serde(untagged)]
pub enum Tool<'a> {
    /// A Chat Completions definition, unchanged.
    Unchanged(&'a Json),
    Converted {
        r#type: &'static str,
        function: FunctionDefinition<'a>,
    },
}

#[derive(Serialize)]
pub struct FunctionDefinition<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<&'a Json>,
}

/// Converts function definitions. Leaves out other tools: if the model called one, the trace is refused because of the
/// call.
pub fn definitions(tools: &Json) -> Result<Option<Vec<Tool<'_>>>, NoExample> {
    let tools = tools.as_list().unwrap_or_default().iter().filter_map(definition).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(tools).filter(|tools| !tools.is_empty()))
}

fn definition(value: &Json) -> Option<Result<Tool<'_>, NoExample>> {
    let tool = value.as_object()?;
    let kind = match tool.get("type") {
        None | Some(Json::Null) => None,
        kind => Some(kind?.as_str()?),
    };
    let nested = present(tool, "function");
    let is_custom = present(tool, "input_schema").is_some();
    let function = match kind.unwrap_or(if is_custom { "custom" } else { "function" }) {
        "function" => nested.map_or(Some(tool), Json::as_object)?, // the Responses API does not nest the function
        "custom" if is_custom => tool,
        _ => return None,
    };
    let name = function.text("name")?;
    if !is_name(name) {
        return Some(Err(NoExample::FunctionName));
    }
    // The Responses API returns definitions with null for absent members, which Chat Completions does not accept.
    Some(Ok(if nested.is_some() && kind.is_some() {
        Tool::Unchanged(value)
    } else {
        let parameters = present(function, "parameters").or_else(|| present(function, "input_schema"));
        let (description, strict) = (present(function, "description"), present(function, "strict"));
        Tool::Converted { r#type: "function", function: FunctionDefinition { name, description, parameters, strict } }
    }))
}

#[derive(Serialize)]
pub struct FunctionCall<'a> {
    pub id: &'a str,
    r#type: &'static str,
    function: CalledFunction<'a>,
}

#[derive(Serialize)]
pub struct CalledFunction<'a> {
    name: &'a str,
    /// JSON text, exactly as the model wrote it.
    arguments: Cow<'a, str>,
}

pub fn calls(calls: &Json) -> Result<Vec<FunctionCall<'_>>, NoExample> {
    calls.as_list().ok_or(NoExample::UnknownContent)?.iter().map(call).collect()
}

fn call(call: &Json) -> Result<FunctionCall<'_>, NoExample> {
    let call = call.as_object().ok_or(NoExample::UnknownContent)?;
    let id = call.text("id").ok_or(NoExample::UnknownContent)?;
    match present(call, "type") {
        None => {}
        Some(Json::String(kind)) if kind == "function" => {}
        Some(Json::String(_)) => return Err(NoExample::NotAFunction),
        Some(_) => return Err(NoExample::UnknownContent),
    }
    let function = called_function(call.get("function").ok_or(NoExample::UnknownContent)?)?;
    Ok(FunctionCall { id, r#type: "function", function })
}

/// Converts a call's `function`, or a `function_call`, which the API used before it had tools.
pub fn called_function(function: &Json) -> Result<CalledFunction<'_>, NoExample> {
    let function = function.as_object().ok_or(NoExample::UnknownContent)?;
    let name = function.text("name").ok_or(NoExample::UnknownContent)?;
    if !is_name(name) {
        return Err(NoExample::FunctionName);
    }
    let arguments = match present(function, "arguments") {
        None => Cow::Borrowed("{}"),
        Some(Json::String(text)) => Cow::Borrowed(text.as_str()),
        Some(object) => Cow::Owned(object.to_string()),
    };
    Ok(CalledFunction { name, arguments })
}

/// Returns a member unless it is null.
pub fn present<'a>(members: &'a Members, name: &str) -> Option<&'a Json> {
    members.get(name).filter(|value| !matches!(value, Json::Null))
}

/// Returns whether OpenAI accepts the name: at most 64 letters, digits, underscores and dashes (OpenAI's API reference,
/// `FunctionObject`).
fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}
