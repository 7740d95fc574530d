//! Highlights code with CSS classes, whose colours the style sheet defines.

use std::{cell::Cell, sync::LazyLock};

use maud::{Markup, PreEscaped, html};
use syntect::{
    html::{ClassStyle, ClassedHTMLGenerator},
    parsing::SyntaxSet,
    util::LinesWithEndings,
};

use super::part::anchor;

/// The longest code that is highlighted, in bytes. Highlighting takes about a millisecond per KiB without
/// optimization.
const LONGEST: usize = 16 * 1024;

/// The longest line that is highlighted, in bytes, because a grammar may take quadratic time for a line.
const LONGEST_LINE: usize = 1024;

static SYNTAXES: LazyLock<SyntaxSet> = LazyLock::new(SyntaxSet::load_defaults_newlines);

/// Limits how much code one page highlights, because highlighting is slow, and numbers the page's code blocks.
#[derive(Debug)]
pub struct Budget {
    /// The amount of code that may still be highlighted, in bytes.
    left: Cell<usize>,
    /// The number of blocks so far.
    blocks: Cell<usize>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: Cell::new(128 * 1024), blocks: Cell::new(0) }
    }
}

/// Shows code in a language, which may be unknown.
pub fn code(budget: &Budget, language: &str, code: &str) -> Markup {
    let highlighted = marked(budget, language, code).map(PreEscaped);
    budget.blocks.set(budget.blocks.get() + 1);
    let id = format!("code-{}", budget.blocks.get());
    html! {
        div.block id=(id) {
            (anchor(&id, "code"))
            pre.code { code { @if let Some(marked) = highlighted { (marked) } @else { (code) } } }
        }
    }
}

fn marked(budget: &Budget, language: &str, code: &str) -> Option<String> {
    if language.is_empty() || code.len() > LONGEST || code.lines().any(|line| line.len() > LONGEST_LINE) {
        return None;
    }
    let left = budget.left.get().checked_sub(code.len())?;
    let syntax = SYNTAXES.find_syntax_by_token(language)?;
    budget.left.set(left);
    let style = ClassStyle::SpacedPrefixed { prefix: "s-" };
    let mut generator = ClassedHTMLGenerator::new_with_class_style(syntax, &SYNTAXES, style);
    for line in LinesWithEndings::from(code) {
        generator.parse_html_for_line_which_includes_newline(line).ok()?;
    }
    Some(generator.finalize())
}
