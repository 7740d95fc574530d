//! The tokens of a call, from the usage that each API reports.

use super::otel::SpanAttributes;
use crate::json::{Json, Members};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// All input tokens, including cached ones.
    pub input: Option<u64>,
    /// All output tokens, including reasoning.
    pub output: Option<u64>,
    pub total: Option<u64>,
    /// The part of `input` that was read from a cache.
    pub cached: Option<u64>,
    /// The part of `input` that was written to a cache.
    pub cache_written: Option<u64>,
    /// The part of `output` that was reasoning.
    pub reasoning: Option<u64>,
}

impl Tokens {
    /// Reads a provider's usage, or the attributes of an OpenTelemetry span if there is none.
    pub fn read(usage: &Members, attributes: &SpanAttributes<'_>) -> Self {
        let count = |names: &[&str]| names.iter().find_map(|name| usage.get(name)?.as_u64());
        let attribute = |name: &str| {
            let value = attributes.get(name)?;
            value.as_u64().or_else(|| value.as_str()?.parse().ok()) // OTLP writes 64-bit integers as strings
        };
        let detail = |objects: [&str; 2], name: &str| objects.iter().find_map(|o| usage.object(o).get(name)?.as_u64());
        let cached = detail(["prompt_tokens_details", "input_tokens_details"], "cached_tokens")
            .or_else(|| count(&["cache_read_input_tokens", "prompt_cache_hit_tokens"]))
            .or_else(|| usage.object("cache_read").get("input_tokens")?.as_u64())
            .or_else(|| attribute("gen_ai.usage.cache_read.input_tokens"));
        let cache_written = count(&["cache_creation_input_tokens"])
            .or_else(|| usage.object("cache_creation").get("input_tokens")?.as_u64())
            .or_else(|| attribute("gen_ai.usage.cache_creation.input_tokens"));
        let reasoning = detail(["completion_tokens_details", "output_tokens_details"], "reasoning_tokens")
            .or_else(|| attribute("gen_ai.usage.reasoning.output_tokens"));
        let input = count(&["prompt_tokens"])
            .or_else(|| whole_input(usage))
            .or_else(|| count(&["gen_ai.usage.input_tokens"]))
            .or_else(|| attribute("gen_ai.usage.input_tokens"));
        let output = count(&["completion_tokens", "output_tokens", "gen_ai.usage.output_tokens"])
            .or_else(|| attribute("gen_ai.usage.output_tokens"));
        let sum = || input.unwrap_or_default().checked_add(output.unwrap_or_default());
        let total = count(&["total_tokens"]).or_else(|| if input.or(output).is_some() { sum() } else { None });
        Self { input, output, total, cached, cache_written, reasoning }
    }

    /// Returns the counts that add up to the total, with their names: new input, cached input, output and reasoning.
    /// Omits unknown and zero counts.
    pub fn parts(self) -> Vec<(&'static str, u64)> {
        let without = |all: Option<u64>, part: Option<u64>| all.map(|all| all.saturating_sub(part.unwrap_or_default()));
        let parts = [
            ("input", without(self.input, self.cached)),
            ("cached", self.cached),
            ("output", without(self.output, self.reasoning)),
            ("reasoning", self.reasoning),
        ];
        parts.into_iter().filter_map(|(name, count)| Some((name, count.filter(|count| *count > 0)?))).collect()
    }
}

/// Returns the total input. Anthropic counts cache reads and writes separately from `input_tokens`; OpenAI's Responses
/// API includes them.
fn whole_input(usage: &Members) -> Option<u64> {
    let count = |name: &str| usage.get(name).and_then(Json::as_u64);
    let cache = ["cache_read_input_tokens", "cache_creation_input_tokens"].into_iter().filter_map(count);
    cache.fold(count("input_tokens"), |sum, tokens| sum?.checked_add(tokens))
}
