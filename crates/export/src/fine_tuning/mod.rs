//! Fine-tuning examples: the line format for OpenAI's supervised fine-tuning of chat models.
//!
//! A line has the members `messages`, `tools`, `parallel_tool_calls` and `functions` (OpenAI's OpenAPI document,
//! `FineTuneChatRequestInput`). An example contains all that the model read and wrote, except its thinking and the
//! definitions of tools that are not functions. A trace with anything else that the format cannot express is left out.

use std::{fmt::Write as _, path::PathBuf, pin::Pin};

use anyhow::Result;
use attest_mapping::json::{Json, Members};
use attest_query::Field;
use clap::Args;
use serde::Serialize;

use super::{
    completion::Completion,
    counts::ExportCounts,
    line_export::{ExportLine, LineFormat, export},
    line_output::output_parser,
    traces::ReadOptions,
};
use completeness::{AnswerEnd, end_of};
use conversation::ExampleMessage;
use refusal::NoExample;
use role::Role;
use tools::{Tool, present};

mod completeness;
mod conversation;
mod parts;
mod refusal;
mod role;
mod tools;

/// The options of the fine-tuning format.
#[derive(Debug, Args)]
#[command(after_long_help = Field::help())]
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

#[derive(Serialize)]
struct Example<'a> {
    messages: Vec<ExampleMessage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<Vec<Tool<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<&'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    functions: Option<&'a Json>,
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
    fn line(&self, trace: &[u8]) -> ExportLine {
        let trace = Members::read(trace);
        let messages: Option<Vec<&Members>> =
            trace.get("messages").and_then(|list| list.as_list()?.iter().map(Json::as_object).collect());
        let Some(messages) = messages.filter(|messages| self.selects(messages)) else { return ExportLine::LeftOut };
        match example(&trace, &messages) {
            Ok(example) => ExportLine::Write(serde_json::to_vec(&example).expect("the members are JSON")),
            Err(refusal) => ExportLine::Refused(refusal.to_string()),
        }
    }

    fn selects(&self, messages: &[&Members]) -> bool {
        let is_last = |role: &String| messages.last().is_some_and(|last| Role::of(last).is_named(role));
        self.min_messages.is_none_or(|least| messages.len() >= least) && self.last_role.as_ref().is_none_or(is_last)
    }
}

/// Converts a trace. Takes the tools from the provider's request, or from the trace if the request has none.
fn example<'a>(trace: &'a Members, messages: &[&'a Members]) -> Result<Example<'a>, NoExample> {
    let is_mapped = trace.text("api").is_some();
    let end = end_of(trace, messages);
    if end == AnswerEnd::Incomplete {
        return Err(NoExample::Incomplete);
    }
    let request = trace.object("request");
    if is_mapped && STORED.iter().any(|name| present(request, name).is_some()) {
        return Err(NoExample::StoredMessages);
    }
    let messages = conversation::convert(messages, is_mapped)?;
    if !messages.iter().any(|message| message.role == Role::Assistant) {
        return Err(NoExample::NoAssistant);
    }
    if end == AnswerEnd::Unknown {
        return Err(NoExample::Incomplete);
    }
    let tools = [request, trace].into_iter().filter_map(|members| present(members, "tools"));
    let tools = tools.map(tools::definitions).find(|tools| !matches!(tools, Ok(None))).unwrap_or(Ok(None))?;
    let requested = |name: &str| present(request, name).or_else(|| present(trace, name));
    let functions = requested("functions").filter(|functions| are_functions(functions));
    // OpenAI's API accepts `parallel_tool_calls` only together with `tools`.
    let parallel = requested("parallel_tool_calls").filter(|_| tools.is_some());
    let parallel_tool_calls = parallel.filter(|parallel| matches!(parallel, Json::Bool(_)));
    Ok(Example { messages, tools, parallel_tool_calls, functions })
}

/// Members of a Responses API request that refer to messages which only the provider stores.
const STORED: [&str; 3] = ["previous_response_id", "conversation", "prompt"];

fn are_functions(functions: &Json) -> bool {
    functions.as_list().is_some_and(|functions| {
        !functions.is_empty() && functions.iter().all(|function| function.as_object().is_some())
    })
}
