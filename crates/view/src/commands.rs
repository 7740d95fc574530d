//! Terminal commands that print a trace, POST it to another endpoint, or send its request to the provider again.

use attest_mapping::{
    json::{Json, Members},
    rebuild,
};
use attest_storage::{LinePlace, Packing, PlaceKind, TraceReader};
use percent_encoding::percent_decode_str;

/// The body of the first request that a user tries.
pub const EXAMPLE: &str =
    r#"{"model": "gpt-4o", "created": 1795305600, "messages": [{"role": "user", "content": "Hello!"}]}"#;

/// Sends a body to an endpoint. The variables hold its URL and its key, which a page must not show.
const POST: &str = "curl -X POST \"$ATTEST_URL\" -H \"x-api-key: $ATTEST_API_KEY\" -H 'content-type: application/json'";

/// The largest trace that a command contains, in bytes. A command reads a larger one from the store.
const INLINE: usize = 64 * 1024;

/// SDK options that choose a host, credentials or headers. They are dropped, because a trace is untrusted and the
/// program runs with the user's own keys.
const OF_SDKS: [&str; 21] = [
    "api_base",
    "api_key",
    "api_version",
    "auth_token",
    "azure_ad_token",
    "azure_deployment",
    "azure_endpoint",
    "base_url",
    "client",
    "default_headers",
    "default_query",
    "extra_body",
    "extra_headers",
    "extra_query",
    "headers",
    "http_client",
    "organization",
    "project",
    "proxy",
    "timeout",
    "websocket_base_url",
];

/// The only members that are passed to LiteLLM, because any other argument to `litellm.completion` may choose a host,
/// credentials or another model (<https://docs.litellm.ai/docs/completion/input>).
const OF_LITELLM: [&str; 34] = [
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "input",
    "instructions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "modalities",
    "model",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "reasoning_effort",
    "response_format",
    "seed",
    "service_tier",
    "stop",
    "stream",
    "stream_options",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];

#[derive(Debug)]
pub struct TerminalCommand {
    pub id: &'static str,
    pub title: &'static str,
    pub text: String,
}

pub fn commands(traces: &TraceReader, key: &str, json: &[u8]) -> Vec<TerminalCommand> {
    let line = traces.files().and_then(|files| files.line(key));
    let read = line.map_or_else(|| aws(traces, key), sed);
    // Anybody on this machine can read the page, so it must not show the secret key for the folder's S3.
    let title = match traces.kind() {
        PlaceKind::Folder => "Read it with the AWS CLI and the AWS_ variables that attest printed",
        PlaceKind::Bucket => "Read it with the AWS CLI",
        PlaceKind::Files => "Read it from its file",
    };
    let mut commands = vec![
        TerminalCommand { id: "curl", title: "POST it to an endpoint", text: curl(&read, json) },
        TerminalCommand { id: "command", title, text: read },
    ];
    if let Some(text) = python(json) {
        commands.push(TerminalCommand { id: "python", title: "Send the request again, in Python", text });
    }
    commands
}

fn aws(traces: &TraceReader, key: &str) -> String {
    let endpoint = traces.endpoint().map(|endpoint| format!(" --endpoint-url {endpoint}")).unwrap_or_default();
    format!("aws s3 cp{endpoint} {} -", quoted(&format!("s3://{}/{key}", traces.bucket())))
}

fn sed(LinePlace { path, packing, number }: LinePlace<'_>) -> String {
    let path = quoted(&path.to_string_lossy());
    let print = format!("sed -n '{number}{{p;q;}}'");
    match packing {
        Packing::Plain => format!("{print} {path}"),
        Packing::Gzip => format!("gzip -dc {path} | {print}"),
        Packing::Zstd => format!("zstd -dc {path} | {print}"),
    }
}

fn curl(read: &str, json: &[u8]) -> String {
    match std::str::from_utf8(json) {
        Ok(json) if json.len() <= INLINE => format!("{POST} --data-binary {}", quoted(json)),
        _ => format!("{read} |\n  {POST} --data-binary @-"),
    }
}

/// Returns the command that stores a first trace.
pub fn first_trace() -> String {
    format!("{POST} -d {}", quoted(EXAMPLE))
}

/// Returns the commands that export the traces that a query selects: as they are, and as examples for fine-tuning.
/// A view of files has none, because `export` reads buckets and folders.
pub fn exports(traces: &TraceReader, q: &str) -> Vec<TerminalCommand> {
    let place = match (traces.kind(), traces.folder()) {
        (PlaceKind::Files, _) => return Vec::new(),
        (_, Some(folder)) => ("folder", folder.root().to_string_lossy()),
        (_, None) => ("bucket", traces.bucket().into()),
    };
    let fingerprint = traces.fingerprint().map(|fingerprint| {
        let path = fingerprint.key_prefix().trim_end_matches('/');
        ("fingerprint", percent_decode_str(path).decode_utf8_lossy())
    });
    let query = Some(("query", q.into())).filter(|_| !q.trim().is_empty());
    let options = [Some(place), fingerprint, query].into_iter().flatten();
    let options: Vec<_> = options.map(|(name, value)| format!("--{name} {}", quoted(&value))).collect();
    let options = options.join(" ");
    let command = |id, title, format, file| {
        let text = format!("attest export{format} {options} -o {file}");
        TerminalCommand { id, title, text }
    };
    vec![
        command("export", "The same traces from a terminal, in the order of their keys", "", "traces.jsonl"),
        command("examples", "As examples for fine-tuning", " fine-tuning", "examples.jsonl"),
    ]
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Returns a program that sends the provider's request again. Returns `None` if the trace has no messages, is too
/// large, or has a URL in its model's name.
fn python(json: &[u8]) -> Option<String> {
    if json.len() > INLINE {
        return None;
    }
    let trace = Members::read(json);
    let api = trace.text("api").unwrap_or_default();
    let mut request = rebuild::request(&trace)?;
    let is_litellm = api == "litellm";
    // LiteLLM sends the request to a URL in a model's name (`huggingface/https://…`).
    if is_litellm && request.text("model").is_some_and(|model| model.contains("://")) {
        return None;
    }
    request.retain(|name, _| if is_litellm { OF_LITELLM.contains(&name) } else { !OF_SDKS.contains(&name) });
    let (module, call) = match api {
        "anthropic" => ("anthropic", "anthropic.Anthropic().messages.create"),
        "openai-responses" => ("openai", "openai.OpenAI().responses.create"),
        "litellm" => ("litellm", "litellm.completion"),
        _ => ("openai", "openai.OpenAI().chat.completions.create"),
    };
    // JSON does not contain three quotes in a row or end with a backslash, so it does not end a raw string.
    let request = Json::from(request).readable();
    Some(format!(
        "import json\n\nimport {module}\n\nrequest = json.loads(r\"\"\"\n{request}\n\"\"\")\n\nprint({call}(**request))\n"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_program_sends_the_providers_request() {
        let trace = br#"{"model": "m-1", "created": 1, "api": "anthropic", "request_messages": 3, "messages": [
            {"role": "system", "content": "Be brief.", "member": "system"},
            {"role": "user", "content": "a", "original": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]},
            {"role": "user", "content": "", "original": []},
            {"role": "assistant", "content": "b"}],
            "request": {"model": "m", "temperature": 0.50, "stop": null}}"#;
        let expected = r#"import json

import anthropic

request = json.loads(r"""
{
  "model": "m",
  "temperature": 0.50,
  "stop": null,
  "system": "Be brief.",
  "messages": [
    {
      "role": "user",
      "content": [
        {
          "type": "text",
          "text": "a"
        }
      ]
    }
  ]
}
""")

print(anthropic.Anthropic().messages.create(**request))
"#;
        assert_eq!(python(trace).as_deref(), Some(expected));
    }

    #[test]
    fn a_trace_chooses_neither_the_host_nor_the_credentials_of_the_program() {
        let program = |api: &str, model: &str, member: &str| {
            let request = json!({"model": model, member: "https://evil.test", "temperature": 0.5});
            let messages = [json!({"role": "user", "content": "a"})];
            let trace = json!({"model": model, "created": 1, "api": api, "messages": messages, "request": request});
            python(trace.to_string().as_bytes())
        };
        let sdks = ["litellm", "openai-chat", "openai-responses", "anthropic", "other"];
        for (api, member) in sdks.iter().flat_map(|api| OF_SDKS.iter().map(move |member| (*api, *member))) {
            let program = program(api, "m", member).expect("a program");
            assert!(!program.contains("evil.test") && program.contains("temperature"), "{api} {member}");
        }
        for member in ["fallbacks", "model_list", "aws_bedrock_runtime_endpoint", "vertex_credentials", "new"] {
            assert!(!program("litellm", "m", member).expect("a program").contains("evil.test"), "{member}");
        }
        assert_eq!(program("litellm", "huggingface/https://evil.test", "user"), None);
    }

    #[test]
    fn no_content_ends_the_text_of_the_program() {
        let texts = ["\"\"\"\nimport os", "\\", "\"", "\\\"\"\"", "", "\u{2028}\r"];
        let messages: Vec<_> =
            texts.into_iter().map(|text| json!({"role": text, "content": text, text: text})).collect();
        let trace = json!({"model": "\"\"\"", "created": 1, "messages": messages, "request": {"\"\"\"": "\"\"\""}});
        let program = python(trace.to_string().as_bytes()).expect("a program");
        assert_eq!(program.matches("\"\"\"").count(), 2, "{program}");
    }

    #[test]
    fn shells_read_quoted_texts_as_they_are() {
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }
}
