//! The frame of every page: the search box, the views, and the keyboard help.

use maud::{DOCTYPE, Markup, html};

use attest_query::Field;

const KEYS: [(&str, &str); 12] = [
    ("/", "go to the search box"),
    ("Esc", "leave the search box"),
    ("j  k", "go to the next or the previous trace or message"),
    ("Enter", "open the trace"),
    ("n  p", "show the next or the previous trace of the result"),
    ("t", "go to the outline of a conversation; j, k and Enter choose a turn"),
    ("e", "go to the next error of a conversation"),
    ("f", "unfold everything, or fold it again"),
    ("m", "switch between Markdown and plain text"),
    ("c", "choose the trace for a comparison; with two chosen, C compares them"),
    ("o", "go to the overview"),
    ("?", "show this help"),
];

#[derive(Debug, Default)]
pub struct Frame<'a> {
    pub title: &'a str,
    pub q: &'a str,
    /// The key of a trace to compare with one of the results.
    pub with: &'a str,
    /// The path of the view that the navigation marks as the current one.
    pub view: &'a str,
}

impl Frame<'_> {
    pub fn page(&self, body: &Markup) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) }
                    link rel="stylesheet" href="/view.css";
                    script src="/view.js" defer {}
                }
                body {
                    a.skip href="#main" { "Skip to the content" }
                    (self.banner())
                    (body)
                    form.compare #compare action="/compare" { button { "Compare the two chosen traces" } }
                    (help())
                }
            }
        }
    }

    fn banner(&self) -> Markup {
        html! {
            header.banner {
                nav aria-label="Views" {
                    @for (path, name) in [("/", "Overview"), ("/traces", "Traces")] {
                        a href=(path) aria-current=[(self.view == path).then_some("page")] { (name) }
                    }
                }
                form role="search" action="/traces" {
                    @if !self.with.is_empty() { input type="hidden" name="with" value=(self.with); }
                    input type="search" name="q" value=(self.q) aria-label="Search" autocomplete="off" spellcheck="false"
                        placeholder="model:gpt-4o role:tool since:2026-11-01 \"refund\"";
                    button { "Search" }
                }
                button.help type="button" hidden data-help { "Help" }
            }
        }
    }
}

/// Renders the checkbox that chooses a trace for a comparison. The form's button appears once a trace is chosen.
pub fn choice(key: &str) -> Markup {
    html! { input type="checkbox" form="compare" name="key" value=(key) aria-label=(format!("Choose {key} for a comparison")); }
}

fn help() -> Markup {
    html! {
        dialog #help aria-labelledby="help-title" {
            h2 #help-title { "Help" }
            h3 { "Search" }
            (fields())
            h3 { "Keyboard" }
            dl { @for (keys, meaning) in KEYS { dt { kbd { (keys) } } dd { (meaning) } } }
            form method="dialog" { button { "Close" } }
        }
    }
}

/// Explains the language of the search box.
pub fn fields() -> Markup {
    html! {
        p { "Words are searched for in messages, tool calls and results, ignoring case. All words and conditions must hold; "
            code { "or" } ", " code { "not" } ", " code { "-" } " and parentheses combine them. "
            "Quote a text that contains spaces or operators. Operators are " code { ": = > >= < <=" } "." }
        dl.fields { @for (_, name, meaning) in Field::ALL { dt { code { (name) } } dd { (meaning) } } }
        p { "Members of a trace are named by their path, such as " code { "usage.total_tokens>1000" }
            ". The first name is one of " (Field::MEMBERS.join(", "))
            "; any other member is written with a dot before it, such as " code { ".rating>=4" } "." }
    }
}
