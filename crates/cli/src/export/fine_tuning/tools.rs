//! The tools of an example: definitions and calls of functions, in the form of Chat Completions.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{super::line_export::one_line, refusal::Refusal};

/// The definition of a function.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Tool<'a> {
    /// A definition of Chat Completions, unchanged.
    Unchanged(&'a RawValue),
    Converted {
        r#type: &'static str,
        function: Function<'a>,
    },
}

/// The function of a definition.
#[derive(Deserialize, Serialize)]
pub struct Function<'a> {
    name: String,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    description: Option<&'a RawValue>,
    /// Anthropic's name is `input_schema`.
    #[serde(borrow, alias = "input_schema", skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    strict: Option<&'a RawValue>,
}

/// The members in which the providers' definitions differ.
#[derive(Deserialize)]
struct Definition<'a> {
    r#type: Option<String>,
    #[serde(borrow)]
    function: Option<&'a RawValue>,
    #[serde(borrow)]
    input_schema: Option<&'a RawValue>,
}

/// Converts the definitions of functions. Other tools are left out: if the model called one, its call refuses the trace.
pub fn definitions(tools: &RawValue) -> Result<Option<Vec<Tool<'_>>>, Refusal> {
    let tools: Vec<&RawValue> = serde_json::from_str(tools.get()).unwrap_or_default();
    let tools = tools.into_iter().filter_map(definition).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(tools).filter(|tools| !tools.is_empty()))
}

fn definition(tool: &RawValue) -> Option<Result<Tool<'_>, Refusal>> {
    let Definition { r#type, function, input_schema } = serde_json::from_str(tool.get()).ok()?;
    let kind = r#type.as_deref().unwrap_or(if input_schema.is_some() { "custom" } else { "function" });
    let is_nested = function.is_some();
    let members = match kind {
        "function" => function.unwrap_or(tool), // the Responses API does not nest the function
        "custom" if input_schema.is_some() => tool,
        _ => return None,
    };
    let function: Function<'_> = serde_json::from_str(members.get()).ok()?;
    if !is_name(&function.name) {
        return Some(Err(Refusal::FunctionName));
    }
    Some(Ok(if is_nested && r#type.is_some() {
        Tool::Unchanged(tool)
    } else {
        Tool::Converted { r#type: "function", function: function.without_nulls() }
    }))
}

impl Function<'_> {
    /// The Responses API returns definitions with null for absent members, which Chat Completions does not accept.
    fn without_nulls(mut self) -> Self {
        for member in [&mut self.description, &mut self.parameters, &mut self.strict] {
            *member = member.filter(|value| value.get() != "null");
        }
        self
    }
}

/// A call of a function.
#[derive(Serialize)]
pub struct Call {
    pub id: String,
    r#type: &'static str,
    function: CalledFunction,
}

#[derive(Serialize)]
pub struct CalledFunction {
    name: String,
    /// A text in JSON, as the model wrote it.
    arguments: Box<RawValue>,
}

#[derive(Deserialize)]
struct ProviderCall<'a> {
    id: String,
    r#type: Option<String>,
    #[serde(borrow)]
    function: Option<ProviderFunction<'a>>,
}

#[derive(Deserialize)]
struct ProviderFunction<'a> {
    name: String,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

/// Converts the calls of a message.
pub fn calls(calls: &RawValue) -> Result<Vec<Call>, Refusal> {
    let calls: Option<Vec<&RawValue>> = serde_json::from_str(calls.get()).map_err(|_| Refusal::UnknownContent)?;
    calls.into_iter().flatten().map(call).collect()
}

fn call(call: &RawValue) -> Result<Call, Refusal> {
    let call: ProviderCall<'_> = serde_json::from_str(call.get()).map_err(|_| Refusal::UnknownContent)?;
    if call.r#type.is_some_and(|kind| kind != "function") {
        return Err(Refusal::NotAFunction);
    }
    let function = called_function(call.function.ok_or(Refusal::UnknownContent)?)?;
    Ok(Call { id: call.id, r#type: "function", function })
}

/// Converts a `function_call`, the form before tools existed. Returns `None` for null.
pub fn function_call(call: &RawValue) -> Result<Option<CalledFunction>, Refusal> {
    let call: Option<ProviderFunction<'_>> = serde_json::from_str(call.get()).map_err(|_| Refusal::UnknownContent)?;
    call.map(called_function).transpose()
}

fn called_function(ProviderFunction { name, arguments }: ProviderFunction<'_>) -> Result<CalledFunction, Refusal> {
    if !is_name(&name) {
        return Err(Refusal::FunctionName);
    }
    let arguments = match arguments.map(RawValue::get) {
        None | Some("null") => raw("{}"),
        Some(text) if text.starts_with('"') => arguments.expect("it was matched").to_owned(),
        Some(object) => {
            let line = one_line(object.as_bytes());
            raw(std::str::from_utf8(&line).expect("only ASCII characters were removed"))
        }
    };
    Ok(CalledFunction { name, arguments })
}

fn raw(text: &str) -> Box<RawValue> {
    serde_json::value::to_raw_value(text).expect("a string is JSON")
}

/// Returns whether OpenAI accepts the name: at most 64 letters, digits, underscores and dashes (OpenAI's API reference,
/// `FunctionObject`).
fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}
