//! Fine-tuning examples: the line format of OpenAI's supervised fine-tuning of chat models.
//!
//! A line has the members `messages`, `tools`, `parallel_tool_calls` and `functions` (OpenAI's OpenAPI document,
//! `FineTuneChatRequestInput`). An example contains all that the model read and wrote, except its thinking and the
//! definitions of tools that are not functions. A trace with anything else that the format cannot express is left out.

use std::{fmt::Write as _, path::PathBuf, pin::Pin};

use anyhow::Result;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    completion::Completion,
    counts::ExportCounts,
    line_export::{Line, LineFormat, export, one_line},
    line_output::output_parser,
    traces::ReadOptions,
};
use conversation::Message;
use json::{Members, list, members};
use refusal::Refusal;
use role::Role;
use tools::Tool;

mod conversation;
mod json;
mod parts;
mod refusal;
mod role;
mod tools;

/// The options of the fine-tuning format.
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
    /// Only conversations that end with a message of this role
    #[arg(long, value_name = "ROLE")]
    last_role: Option<String>,
    /// Write equal examples only once; needs 16 to 40 bytes of memory per example
    #[arg(long)]
    dedupe: bool,
}

/// The members of a trace that an example depends on.
#[derive(Deserialize)]
struct Trace<'a> {
    #[serde(borrow)]
    messages: Vec<Members<'a>>,
    /// The API of the call, if the trace was made by the mapping of docs/mapping.md.
    #[serde(borrow)]
    api: Option<&'a RawValue>,
    /// The other members of the provider's request.
    #[serde(borrow)]
    request: Option<&'a RawValue>,
    #[serde(borrow)]
    incomplete: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// The members of a request that define the available tools and functions.
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
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<Vec<Tool<'a>>>,
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
        let format = LineFormat { name, dedupe: *dedupe, line: |trace: &[u8]| self.line(trace) };
        export(read, output, &format, counts, stop).await
    }

    /// Converts a trace into a line, unless an option excludes it.
    fn line(&self, trace: &[u8]) -> Line {
        let Ok(trace) = serde_json::from_slice::<&RawValue>(trace) else { return Line::LeftOut };
        let Ok(parsed) = serde_json::from_str::<Trace<'_>>(trace.get()) else { return Line::LeftOut };
        if !self.selects(&parsed.messages) {
            return Line::LeftOut;
        }
        match example(trace, &parsed) {
            Ok(example) => Line::Write(one_line(&serde_json::to_vec(&example).expect("the members are JSON"))),
            Err(refusal) => Line::Refused(refusal.to_string()),
        }
    }

    fn selects(&self, messages: &[Members<'_>]) -> bool {
        let is_last = |role: &String| messages.last().is_some_and(|last| Role::of(last).is_named(role));
        self.min_messages.is_none_or(|least| messages.len() >= least) && self.last_role.as_ref().is_none_or(is_last)
    }
}

/// Converts a trace. Takes the tools from the provider's request, or from the trace if the request has none.
fn example<'a>(trace: &'a RawValue, parsed: &Trace<'a>) -> Result<Example<'a>, Refusal> {
    let is_mapped = parsed.api.is_some_and(|api| api.get().starts_with('"'));
    if is_mapped {
        let is_set = |value: Option<&RawValue>| value.is_some_and(|value| value.get() != "null");
        if is_set(parsed.incomplete) || is_set(parsed.error) {
            return Err(Refusal::Incomplete);
        }
        let request = parsed.request.and_then(members).unwrap_or_default();
        if STORED.iter().any(|name| is_set(request.get(*name).copied())) {
            return Err(Refusal::StoredMessages);
        }
    }
    let messages = conversation::convert(&parsed.messages, is_mapped)?;
    if !messages.iter().any(|message| message.role == Role::Assistant) {
        return Err(Refusal::NoAssistant);
    }
    let requested: Definitions<'_> =
        parsed.request.and_then(|request| serde_json::from_str(request.get()).ok()).unwrap_or_default();
    let own: Definitions<'_> = serde_json::from_str(trace.get()).unwrap_or_default();
    let tools = [requested.tools, own.tools].into_iter().flatten();
    let tools = tools.map(tools::definitions).find(|tools| !matches!(tools, Ok(None))).unwrap_or(Ok(None))?;
    let functions = requested.functions.or(own.functions).filter(|functions| are_functions(functions));
    // OpenAI's API accepts the member only together with `tools`.
    let parallel = requested.parallel_tool_calls.or(own.parallel_tool_calls).filter(|_| tools.is_some());
    let parallel_tool_calls = parallel.filter(|parallel| matches!(parallel.get(), "true" | "false"));
    Ok(Example { messages, tools, parallel_tool_calls, functions })
}

/// Members of a request of the Responses API that stand for messages that only the provider has.
const STORED: [&str; 3] = ["previous_response_id", "conversation", "prompt"];

fn are_functions(functions: &RawValue) -> bool {
    list(functions)
        .is_some_and(|functions| !functions.is_empty() && functions.iter().all(|function| members(function).is_some()))
}
