//! A cheap test of the stored bytes, so that most traces need not be parsed.
//!
//! A query's word occurs in the conversation's text, which the JSON contains, perhaps with escapes. The page reformats
//! nested JSON and joins texts. The test therefore looks only for the word's longest run of characters that JSON
//! neither escapes nor separates. In three cases, the text may contain the run although the bytes do not, so these
//! traces pass:
//!
//! - An ASCII escape, such as `\u0041`, may decode to another escape, or may be in a name.
//! - Texts with citations are joined without a separator.
//! - The bytes are not UTF-8.

use std::cell::OnceCell;

use attest_mapping::{LetterCase, Needle};
use memchr::memmem;

use crate::{
    field::Field,
    syntax::{Condition, Expression, Subject},
    test::Test,
};

/// Characters that normalization or lowercasing turns into ASCII (UnicodeData.txt): `K`, `;`, `` ` `` and `İ`.
const BECOME_ASCII: [&str; 4] = ["\u{212a}", "\u{37e}", "\u{1fef}", "\u{130}"];

#[derive(Debug, Clone)]
pub struct Prefilter(Tree);

#[derive(Debug, Clone)]
enum Tree {
    All(Vec<Tree>),
    Either(Vec<Tree>),
    Run(Box<Run>),
    Unknown,
}

impl Prefilter {
    pub(crate) fn of(query: &Expression) -> Self {
        Self(tree(query))
    }

    /// Returns whether the trace in `json` may match. `false` is certain, `true` is not.
    #[must_use]
    pub fn may_match(&self, json: &[u8]) -> bool {
        let Ok(json) = std::str::from_utf8(json) else { return true };
        may_match(&self.0, &Text { json, lower: OnceCell::new() })
    }
}

fn tree(query: &Expression) -> Tree {
    let run = |text: &str| Run::of(text).map_or(Tree::Unknown, |run| Tree::Run(run.into()));
    match query {
        Expression::All(parts) => Tree::All(parts.iter().map(tree).collect()),
        Expression::Either(parts) => Tree::Either(parts.iter().map(tree).collect()),
        Expression::Word(word) => run(&word.text),
        Expression::Condition(Condition { subject, test: Test::Equal(pattern), .. }) => match subject {
            // Numbers and literals can be written in several ways.
            Subject::Member(_) | Subject::Field(Field::Model) if pattern.is_textual() => run(&pattern.text),
            Subject::Field(Field::User | Field::Session | Field::Tag | Field::Tool) => run(&pattern.text),
            _ => Tree::Unknown,
        },
        _ => Tree::Unknown,
    }
}

fn may_match(tree: &Tree, text: &Text<'_>) -> bool {
    match tree {
        Tree::All(parts) => parts.iter().all(|part| may_match(part, text)),
        Tree::Either(parts) => parts.iter().any(|part| may_match(part, text)),
        Tree::Run(run) => text.may_contain(run),
        Tree::Unknown => true,
    }
}

/// A run of characters that stays contiguous in JSON.
#[derive(Debug, Clone)]
struct Run {
    needle: Needle,
    finder: Option<memmem::Finder<'static>>,
}

impl Run {
    fn of(text: &str) -> Option<Self> {
        let normal = Needle::new(text, LetterCase::Ignored);
        let is_separate =
            |character: char| character.is_whitespace() || character.is_control() || r#""\/{}[]:,"#.contains(character);
        let run = normal.text().split(is_separate).max_by_key(|run| run.len()).filter(|run| !run.is_empty())?;
        let finder = run.is_ascii().then(|| memmem::Finder::new(run).into_owned());
        Some(Self { needle: Needle::new(run, LetterCase::Ignored), finder })
    }
}

struct Text<'a> {
    json: &'a str,
    /// The bytes, with ASCII letters in lower case.
    lower: OnceCell<Vec<u8>>,
}

impl Text<'_> {
    fn may_contain(&self, run: &Run) -> bool {
        let lower = self.lower.get_or_init(|| self.json.to_ascii_lowercase().into_bytes());
        if run.finder.as_ref().is_some_and(|finder| finder.find(lower).is_some()) {
            return true;
        }
        let contains = |part: &[u8]| memmem::find(lower, part).is_some();
        let is_simple = run.finder.is_some()
            && !contains(br"\u")
            && (self.json.is_ascii() || !BECOME_ASCII.iter().any(|letter| self.json.contains(letter)));
        !is_simple && (has_escaped_ascii(lower) || run.needle.is_in(self.json)) || joins_texts(lower)
    }
}

/// Returns whether an ASCII character is escaped, at any level of JSON within strings.
fn has_escaped_ascii(json: &[u8]) -> bool {
    memmem::find_iter(json, b"u00").any(|at| json.get(at + 3).is_some_and(|digit| (b'0'..b'8').contains(digit)))
}

/// Returns whether a string has citations. Empty lists do not count, because the Responses API adds one to each text.
fn joins_texts(json: &[u8]) -> bool {
    [&b"citations"[..], b"annotations"].iter().any(|name| {
        memmem::find_iter(json, name).any(|at| {
            let mut behind = json[at + name.len()..].iter().copied().filter(|byte| !byte.is_ascii_whitespace());
            let next: [u8; 4] = std::array::from_fn(|_| behind.next().unwrap_or_default());
            !(next == *b"\":[]" || next == *b"\":nu")
        })
    })
}
