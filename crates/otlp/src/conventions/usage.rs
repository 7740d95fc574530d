//! A call's token counts, named as in the current conventions but without `gen_ai.usage.`.

use serde_json::{Map, Value};

use crate::attributes::Attributes;

const GEN_AI: &str = "gen_ai.usage.";

const NAMES: [(&str, &str); 24] = [
    ("gen_ai.usage.prompt_tokens", "input_tokens"),
    ("gen_ai.usage.completion_tokens", "output_tokens"),
    ("gen_ai.usage.reasoning_tokens", "reasoning.output_tokens"),
    ("gen_ai.usage.cache_read_input_tokens", "cache_read.input_tokens"),
    ("gen_ai.usage.cache_creation_input_tokens", "cache_creation.input_tokens"),
    ("llm.usage.total_tokens", "total_tokens"),
    ("llm.token_count.prompt", "input_tokens"),
    ("llm.token_count.completion", "output_tokens"),
    ("llm.token_count.total", "total_tokens"),
    ("llm.token_count.prompt_details.cache_read", "cache_read.input_tokens"),
    ("llm.token_count.prompt_details.cache_write", "cache_write.input_tokens"),
    ("llm.token_count.prompt_details.audio", "audio.input_tokens"),
    ("llm.token_count.completion_details.reasoning", "reasoning.output_tokens"),
    ("llm.token_count.completion_details.audio", "audio.output_tokens"),
    ("ai.usage.promptTokens", "input_tokens"),
    ("ai.usage.completionTokens", "output_tokens"),
    ("ai.usage.inputTokens", "input_tokens"),
    ("ai.usage.outputTokens", "output_tokens"),
    ("ai.usage.totalTokens", "total_tokens"),
    ("ai.usage.tokens", "total_tokens"),
    ("ai.usage.reasoningTokens", "reasoning.output_tokens"),
    ("ai.usage.cachedInputTokens", "cache_read.input_tokens"),
    ("ai.usage.inputTokenDetails.cacheReadTokens", "cache_read.input_tokens"),
    ("ai.usage.inputTokenDetails.cacheWriteTokens", "cache_write.input_tokens"),
];

#[must_use]
pub fn read(attributes: &Attributes<'_>) -> Option<Value> {
    let mut usage = Map::new();
    for (name, value) in attributes.starting_with(GEN_AI) {
        if !NAMES.iter().any(|(other, _)| other.strip_prefix(GEN_AI) == Some(name)) {
            insert(&mut usage, name, value);
        }
    }
    for (name, path) in NAMES {
        if let Some(value) = attributes.value(name) {
            insert(&mut usage, path, value);
        }
    }
    (!usage.is_empty()).then_some(Value::Object(usage))
}

/// Inserts a value at a path that has none.
///
/// A name such as `a.b.c` becomes the two levels `a` and `b.c`, which bounds the depth.
fn insert(usage: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            usage.entry(path).or_insert(value);
        }
        Some((group, name)) => {
            let group = usage.entry(group).or_insert_with(|| Map::new().into());
            if let Value::Object(group) = group {
                group.entry(name).or_insert(value);
            }
        }
    }
}
