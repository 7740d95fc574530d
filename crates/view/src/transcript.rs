//! Formats a conversation as Markdown, for pasting it elsewhere.

use attest_mapping::{
    Prices,
    conversation::{Citation, Conversation, Header, Media, MediaSource, Part, StoredTrace, ToolCall, ToolResult, Turn},
};
use indicatif::BinaryBytes;

use crate::pages::{answer_id, is_json, known_facts, laid_out, part_id, title, turn_id};

/// Returns a whole conversation: its facts, every turn, and the alternative answers.
pub fn transcript(key: &str, json: &[u8], prices: &Prices) -> String {
    let stored = StoredTrace::read(json);
    let conversation = stored.conversation();
    let header = Header::read(stored.trace());
    let facts = known_facts(key, &header, json.len(), prices.cost(&header));
    let facts = facts.iter().map(|(name, value)| format!("- {name}: {}", code_span(value))).collect::<Vec<_>>();
    let mut blocks = vec![format!("# {}", title(key, &conversation)), facts.join("\n")];
    blocks.extend(turns(&conversation).map(|(_, name, turn)| turn_block(&name, turn)));
    joined(&blocks) + "\n"
}

/// Returns the turn or part that has this fragment on the page.
pub fn excerpt(json: &[u8], fragment: &str) -> Option<String> {
    let conversation = StoredTrace::read(json).conversation();
    let block = turns(&conversation).find_map(|(id, name, turn)| {
        if id == fragment {
            return Some(turn_block(&name, turn));
        }
        let is_chosen = |place: &usize| fragment.starts_with(&id) && part_id(&id, *place) == fragment;
        (0..turn.parts.len()).find(is_chosen).map(|place| part_block(&turn.parts[place]))
    });
    block.map(|block| block + "\n")
}

/// Lists the turns and the alternative answers with their fragments and names.
fn turns(conversation: &Conversation) -> impl Iterator<Item = (String, String, &Turn)> {
    let turns = conversation.turns.iter().enumerate().map(|(place, turn)| (turn_id(place), turn.role.clone(), turn));
    let choices = conversation.choices.iter().enumerate();
    turns.chain(choices.map(|(place, choice)| {
        (answer_id(place), format!("{}, choice {}", choice.turn.role, choice.name), &choice.turn)
    }))
}

fn joined(blocks: &[String]) -> String {
    blocks.join("\n\n")
}

fn turn_block(name: &str, turn: &Turn) -> String {
    let participant = turn.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let mut blocks = vec![format!("## {name}{participant}")];
    blocks.extend(turn.parts.iter().map(part_block));
    joined(&blocks)
}

fn part_block(part: &Part) -> String {
    match part {
        Part::Text { text, citations } => {
            let mut blocks = vec![text.trim_end_matches('\n').to_owned()];
            if !citations.is_empty() {
                blocks.extend(["Sources:".to_owned(), sources(citations)]);
            }
            joined(&blocks)
        }
        Part::Thinking(Some(text)) => quote("Thinking", text),
        Part::Thinking(None) => "**Thinking** that the provider encrypted".to_owned(),
        Part::Refusal(text) => quote("Refusal", text),
        Part::Media(media) => medium(media),
        Part::Call(call) => call_block(call),
        Part::Result(result) => result_block(result),
        Part::Other { kind, json } => joined(&[format!("**{kind}**"), code("json", &json.readable())]),
    }
}

fn sources(citations: &[Citation]) -> String {
    let source = |(place, Citation { title, quote }): (usize, &Citation)| {
        let quote = quote.as_ref().map(|quote| format!(": {quote}")).unwrap_or_default();
        format!("{}. {title}{quote}", place + 1)
    };
    citations.iter().enumerate().map(source).collect::<Vec<_>>().join("\n")
}

fn quote(title: &str, text: &str) -> String {
    let lines = text.lines().map(|line| format!("> {line}"));
    [format!("> **{title}**"), ">".to_owned()].into_iter().chain(lines).collect::<Vec<_>>().join("\n")
}

/// Describes media without the content, which would make the text as large as the trace.
fn medium(Media { kind, name, source }: &Media) -> String {
    let kind = kind.name();
    let name = name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
    match source {
        MediaSource::Data { media_type, bytes } => {
            format!("*{kind}{name}: {media_type}, {}*", BinaryBytes(bytes.len() as u64))
        }
        MediaSource::Elsewhere(place) => format!("*{kind}{name} at* {}", code_span(place)),
        MediaSource::Text(text) => joined(&[format!("*{kind}{name}*"), code("", text)]),
    }
}

fn call_block(call: &ToolCall) -> String {
    let id = if call.id.is_empty() { String::new() } else { format!(" {}", code_span(&call.id)) };
    let mut blocks = vec![format!("**Call** {}{id}", code_span(&call.name))];
    if !call.arguments.is_empty() {
        blocks.push(code(if is_json(&call.arguments) { "json" } else { "" }, &call.arguments));
    }
    blocks.extend(call.result.as_ref().map(result_block));
    joined(&blocks)
}

fn result_block(result: &ToolResult) -> String {
    let id = if result.call.is_empty() { String::new() } else { format!(" of {}", code_span(&result.call)) };
    let mut blocks = vec![format!("**{}**{id}", if result.is_error { "Error" } else { "Result" })];
    blocks.extend(result.parts.iter().map(|part| match part {
        Part::Text { text, .. } if is_json(text) => code("json", &laid_out(text)),
        Part::Text { text, .. } => code("", text),
        part => part_block(part),
    }));
    joined(&blocks)
}

/// Encloses code in fences that do not occur in it (CommonMark, section 4.5).
fn code(language: &str, code: &str) -> String {
    let fence = "`".repeat(longest_run(code).max(2) + 1);
    let end = if code.ends_with('\n') { "" } else { "\n" };
    format!("{fence}{language}\n{code}{end}{fence}")
}

/// Formats inline code, between more backticks than occur in it (CommonMark, section 6.1).
fn code_span(code: &str) -> String {
    let ticks = "`".repeat(longest_run(code) + 1);
    let space = if code.starts_with('`') || code.ends_with('`') { " " } else { "" };
    format!("{ticks}{space}{code}{space}{ticks}")
}

fn longest_run(text: &str) -> usize {
    text.split(|character| character != '`').map(str::len).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn trace() -> Vec<u8> {
        json!({"model": "m", "created": 1, "id": "1", "messages": [
            {"role": "user", "content": "What is\n```\nx\n```?"},
            {"role": "assistant", "content": "I ask.", "reasoning_content": "Hm.\nYes.", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{\"q\": \"``` and ````\"}"}}]},
            {"role": "user", "content": "18", "tool_call_id": "c1", "original": {"role": "tool", "content": "18"}},
            {"role": "assistant", "content": "It is **18**."}]})
        .to_string()
        .into_bytes()
    }

    #[test]
    fn a_transcript_has_every_turn_call_and_result() {
        let expected = "# What is ``` x ```?

- model: `m`
- created: `1970-01-01T00:00:01Z`
- size: `SIZE`
- key: `m/1`
- fingerprint: `m`
- id: `1`

## user

What is
```
x
```?

## assistant

> **Thinking**
>
> Hm.
> Yes.

I ask.

**Call** `find` `c1`

`````json
{
  \"q\": \"``` and ````\"
}
`````

**Result** of `c1`

```
18
```

## assistant

It is **18**.
";
        let size = format!("{}", BinaryBytes(trace().len() as u64));
        assert_eq!(transcript("m/1", &trace(), &Prices::default()), expected.replace("SIZE", &size));
    }

    #[test]
    fn a_fragment_selects_a_turn_or_a_part() {
        assert_eq!(excerpt(&trace(), "turn-3").as_deref(), Some("## assistant\n\nIt is **18**.\n"));
        assert!(excerpt(&trace(), "turn-2-3").is_some_and(|call| call.starts_with("**Call** `find`")));
        for none in ["", "turn-0", "turn-4", "turn-2-4", "turn-2-", "answer-1", "turn-1-1-1"] {
            assert_eq!(excerpt(&trace(), none), None, "{none}");
        }
    }
}
