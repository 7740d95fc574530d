//! Fine-tuning examples: the line format of OpenAI's supervised fine-tuning of chat models.
//!
//! A line has the members `messages`, `tools`, `parallel_tool_calls` and `functions` (OpenAI's OpenAPI document,
//! `FineTuneChatRequestInput`).

use std::{fmt::Write as _, path::PathBuf, pin::Pin};

use anyhow::Result;
use clap::Args;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    completion::Completion,
    counts::ExportCounts,
    line_export::{LineFormat, export},
    line_output::output_parser,
    traces::ReadOptions,
};

/// The options of the format for fine-tuning.
#[derive(Debug, Args)]
pub struct FineTuningOptions {
    #[command(flatten)]
    read: ReadOptions,
    /// The file to write; `-` is standard output
    #[arg(long, short, value_name = "FILE", value_parser = output_parser())]
    output: PathBuf,
    /// Only conversations of at least this many messages
    #[arg(long, value_name = "N")]
    min_messages: Option<usize>,
    /// Only conversations whose last message has this role
    #[arg(long, value_name = "ROLE")]
    last_role: Option<String>,
    /// Write equal examples once; takes 16 to 40 bytes of memory per example
    #[arg(long)]
    dedupe: bool,
}

type Members<'a> = IndexMap<String, &'a RawValue>;

#[derive(Deserialize)]
struct Trace<'a> {
    #[serde(borrow)]
    messages: Vec<Members<'a>>,
    /// The other members of the provider's request, as `import` stores them.
    #[serde(borrow)]
    request: Option<&'a RawValue>,
}

/// The members of a request that define what the model could call.
#[derive(Default, Deserialize)]
struct Definitions<'a> {
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    parallel_tool_calls: Option<&'a RawValue>,
    #[serde(borrow)]
    functions: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Example<'a> {
    messages: Vec<Members<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    functions: Option<&'a RawValue>,
}

impl FineTuningOptions {
    pub async fn export(
        &self,
        counts: &mut ExportCounts,
        stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Completion> {
        let Self { read, output, min_messages, last_role, dedupe } = self;
        let mut name = "fine-tuning examples".to_owned();
        if let Some(count) = min_messages {
            let _ = write!(name, " --min-messages {count}");
        }
        if let Some(role) = last_role {
            let _ = write!(name, " --last-role {role:?}");
        }
        if *dedupe {
            name.push_str(" --dedupe");
        }
        let format = LineFormat { name, dedupe: *dedupe, line: |trace: &[u8]| self.example(trace) };
        export(read, output, &format, counts, stop).await
    }

    /// Returns the example of a trace, or `None` if an option leaves it out.
    ///
    /// The provider's roles and contents are restored from the member `original` of each message (docs/api.md). Tools are those
    /// of the provider's request, or of the trace if that has none.
    fn example(&self, trace: &[u8]) -> Option<Vec<u8>> {
        let Trace { mut messages, request } = serde_json::from_slice(trace).ok()?;
        messages.iter_mut().for_each(restore);
        let role = messages.last().and_then(|last| serde_json::from_str::<String>(last.get("role")?.get()).ok());
        let is_selected = messages.len() >= self.min_messages.unwrap_or(1)
            && self.last_role.as_ref().is_none_or(|selected| Some(selected) == role.as_ref());
        if !is_selected {
            return None;
        }
        let requested: Definitions<'_> =
            request.and_then(|request| serde_json::from_str(request.get()).ok()).unwrap_or_default();
        let own: Definitions<'_> = serde_json::from_slice(trace).unwrap_or_default();
        let tools = requested.tools.filter(|tools| are_tools(tools)).or(own.tools.filter(|tools| are_tools(tools)));
        let functions = requested.functions.or(own.functions).filter(|functions| are_functions(functions));
        // OpenAI's API accepts the member only beside `tools`.
        let parallel = requested.parallel_tool_calls.or(own.parallel_tool_calls).filter(|_| tools.is_some());
        let parallel_tool_calls = parallel.filter(|parallel| matches!(parallel.get(), "true" | "false"));
        let example = Example { messages, tools, parallel_tool_calls, functions };
        Some(serde_json::to_vec(&example).expect("members of a JSON object are JSON"))
    }
}

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(borrow, rename = "function")]
    _function: Members<'a>,
}

/// Returns whether these are tools of Chat Completions. Other APIs use the member for definitions of another form, which
/// fine-tuning does not accept.
fn are_tools(tools: &RawValue) -> bool {
    serde_json::from_str::<Vec<Tool<'_>>>(tools.get()).is_ok_and(|tools| !tools.is_empty())
}

fn are_functions(functions: &RawValue) -> bool {
    serde_json::from_str::<Vec<Members<'_>>>(functions.get()).is_ok_and(|functions| !functions.is_empty())
}

/// Restores the provider's role and content of a message.
fn restore(message: &mut Members<'_>) {
    let original =
        message.get("original").and_then(|original| serde_json::from_str::<Members<'_>>(original.get()).ok());
    let Some(original) = original.filter(|original| !original.is_empty()) else { return };
    if original.keys().any(|name| !["role", "content", "original"].contains(&name.as_str())) {
        return; // the application's own member
    }
    for name in ["role", "content", "original"] {
        match original.get(name) {
            Some(value) => drop(message.insert(name.to_owned(), value)),
            None => drop(message.shift_remove(name)),
        }
    }
}
