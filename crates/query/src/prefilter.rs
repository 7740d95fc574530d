//! A cheap test of the stored bytes, which spares most traces the parser.
//!
//! A word of the query occurs in a text of the conversation, and that text stands in the JSON, perhaps with escapes. The
//! page lays JSON out anew and joins texts, so only the longest run of characters is looked for that JSON neither escapes nor
//! separates. In three cases the run may be in a text although it is not in the bytes. All of them then pass.
//!
//! - An escape of ASCII, such as `\u0041`, may have become another escape, or may be part of a name.
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

/// Letters that become ASCII when they are normalized or in lower case (UnicodeData.txt): `K`, `;`, `` ` `` and `İ`.
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

    /// Returns `false` only if the trace with these stored bytes does not match.
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
            // A number and a literal are written in several ways.
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

/// Characters of a text that are adjacent in JSON too.
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
    /// The bytes with ASCII in lower case.
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

/// Returns whether there is an escape of ASCII, on any level of JSON in strings.
fn has_escaped_ascii(json: &[u8]) -> bool {
    memmem::find_iter(json, b"u00").any(|at| json.get(at + 3).is_some_and(|digit| (b'0'..b'8').contains(digit)))
}

/// Returns whether a text has citations. Empty lists do not count: the Responses API writes one in each text.
fn joins_texts(json: &[u8]) -> bool {
    [&b"citations"[..], b"annotations"].iter().any(|name| {
        memmem::find_iter(json, name).any(|at| {
            let mut behind = json[at + name.len()..].iter().copied().filter(|byte| !byte.is_ascii_whitespace());
            let next: [u8; 4] = std::array::from_fn(|_| behind.next().unwrap_or_default());
            !(next == *b"\":[]" || next == *b"\":nu")
        })
    })
}
