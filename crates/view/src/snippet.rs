//! Finds the part of a conversation that contains a search's words.

use attest_mapping::{
    Needle,
    conversation::{Conversation, Turn},
};

/// The number of characters before the first word.
const BEFORE: usize = 50;

/// The number of characters from the start of the first word.
const BEHIND: usize = 150;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snippet {
    /// The index of the turn.
    pub turn: usize,
    /// Whether the text is in an alternative answer, which follows this turn.
    pub is_choice: bool,
    /// The parts of the text, each with whether it is one of the words.
    pub parts: Vec<(String, bool)>,
}

impl Snippet {
    /// Finds the first text that contains one of the words.
    pub fn find(conversation: &Conversation, words: &[Needle]) -> Option<Self> {
        let last = conversation.turns.len().saturating_sub(1);
        let turns = conversation.turns.iter().enumerate().map(|(place, turn)| (place, false, turn));
        let choices = conversation.choices.iter().map(|choice| (last, true, &choice.turn));
        let mut texts = turns.chain(choices);
        texts.find_map(|(turn, is_choice, texts)| Some(Self { turn, is_choice, parts: parts(texts, words)? }))
    }
}

fn parts(turn: &Turn, words: &[Needle]) -> Option<Vec<(String, bool)>> {
    let mut found = None;
    for part in &turn.parts {
        part.texts(&mut |text| {
            if found.is_none() && words.iter().any(|word| word.is_in(text)) {
                found = Some(marked(text, words));
            }
        });
    }
    found
}

/// Cuts a string around the first word, and marks all words in it.
fn marked(text: &str, words: &[Needle]) -> Vec<(String, bool)> {
    let first = words.iter().filter_map(|word| word.find(text)).min_by_key(|found| found.range.start);
    // A word below more levels of escapes than `find` decodes is not marked.
    let (text, start) = first.map_or((text.into(), 0), |found| (found.text, found.range.start));
    let from = text[..start].char_indices().rev().take(BEFORE).last().map_or(start, |(at, _)| at);
    let to = text[start..].char_indices().nth(BEHIND).map_or(text.len(), |(at, _)| start + at);
    let shown = &text[from..to];
    let mut parts = Vec::new();
    let mut push = |text: &str, is_word| {
        if !text.is_empty() {
            parts.push((text.split_inclusive(char::is_whitespace).map(spaced).collect(), is_word));
        }
    };
    push(if from > 0 { "…" } else { "" }, false);
    let mut at = 0;
    while let Some(range) = words.iter().filter_map(|word| word.find_after(shown, at)).min_by_key(|range| range.start) {
        push(&shown[at..range.start], false);
        push(&shown[range.clone()], true);
        at = range.end;
    }
    push(&shown[at..], false);
    push(if to < text.len() { "…" } else { "" }, false);
    parts
}

/// Replaces white space after a word with a space.
fn spaced(word: &str) -> String {
    word.replace(char::is_whitespace, " ")
}

#[cfg(test)]
mod tests {
    use attest_mapping::{LetterCase, conversation::StoredTrace};

    use super::*;

    /// Returns the turn's index, and the text with the words in brackets.
    fn snippet(messages: &serde_json::Value, words: &[&str]) -> Option<(usize, String)> {
        let trace = serde_json::json!({"model": "m", "created": 1, "messages": messages}).to_string();
        let words: Vec<Needle> = words.iter().map(|word| Needle::new(word, LetterCase::Ignored)).collect();
        let found = Snippet::find(&StoredTrace::read(trace.as_bytes()).conversation(), &words)?;
        let text = found.parts.iter().map(|(text, is_word)| if *is_word { format!("[{text}]") } else { text.clone() });
        Some((found.turn, text.collect()))
    }

    #[test]
    fn a_snippet_marks_every_word_in_the_first_turn_that_has_one() {
        let messages = serde_json::json!([
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Your Refund:\nrefund of Düsseldorf"}]);
        let expected = "Your [Refund]: [refund] of [Düsseldorf]".to_owned();
        assert_eq!(snippet(&messages, &["refund", "DÜSSELDORF"]), Some((1, expected)));
        assert_eq!(snippet(&messages, &["none"]), None);
        assert_eq!(snippet(&messages, &[]), None);
    }

    #[test]
    fn a_long_text_is_cut_around_the_word() {
        let text = format!("{} refund {}", "ä".repeat(1_000), "ö".repeat(1_000));
        let (_, snippet) =
            snippet(&serde_json::json!([{"role": "user", "content": text}]), &["refund"]).expect("a snippet");
        assert_eq!(snippet, format!("…{} [refund] {}…", "ä".repeat(49), "ö".repeat(143)));
    }

    #[test]
    fn a_word_in_escaped_arguments_is_marked() {
        let call = serde_json::json!({"id": "c", "type": "function",
            "function": {"name": "f", "arguments": r#"{"city": "D\u00fcsseldorf"}"#}});
        let messages = serde_json::json!([{"role": "assistant", "content": null, "tool_calls": [call]}]);
        let (turn, snippet) = snippet(&messages, &["düsseldorf"]).expect("a snippet");
        assert_eq!(turn, 0);
        assert!(snippet.contains("[Düsseldorf]"), "{snippet}");
    }
}
