//! Compares two traces side by side: lists their facts, aligns their turns, and marks the words that differ.

use std::time::{Duration, Instant};

use attest_mapping::conversation::{Header, StoredTrace};
use maud::{Markup, html};
use similar::{Algorithm, ChangeTag, DiffTag, TextDiff, capture_diff_slices_deadline};

use super::{
    facts::known,
    layout::Frame,
    turn_text::{members_text, turn_text},
    urls::trace_url,
};

/// The time limit, after which a comparison is only approximate. If two texts have no word in common, the time would
/// otherwise grow with the product of their word counts.
const DEADLINE: Duration = Duration::from_secs(1);

/// The similarity below which the words of two texts are not compared, because few of them would correspond.
const SIMILAR: f32 = 0.3;

/// How much of a string that is the same in both traces is shown, in characters.
const SUMMARY: usize = 80;

/// A side of the comparison.
struct Side<'a> {
    key: &'a str,
    facts: Vec<(&'static str, String)>,
    turns: Vec<TurnText>,
}

/// A turn as text, or the other members of a trace.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
struct TurnText {
    role: String,
    text: String,
}

/// Shows two traces, each given by its key and its stored JSON.
pub fn compare(one: (&str, &[u8]), other: (&str, &[u8])) -> Markup {
    let deadline = Instant::now() + DEADLINE;
    let [left, right] = [one, other].map(|(key, json)| Side::read(key, json));
    let pairs = aligned(&left.turns, &right.turns, deadline);
    let pairs: Vec<_> = pairs.into_iter().map(|pair| pair_of(pair, deadline)).collect();
    let is_cut_short = Instant::now() >= deadline;
    let body = html! {
        main #main {
            h1 { "Side by side" }
            @if is_cut_short {
                p.notice role="status" {
                    "The comparison was cut short after " (DEADLINE.as_secs()) " s: "
                    "texts that are in both traces may be marked."
                }
            }
            (facts_of(&left, &right))
            div.pairs { @for pair in &pairs { (pair) } }
        }
    };
    Frame { title: "Side by side", ..Frame::default() }.page(&body)
}

impl<'a> Side<'a> {
    fn read(key: &'a str, json: &[u8]) -> Self {
        let stored = StoredTrace::read(json);
        let conversation = stored.conversation();
        let choices = conversation.choices.iter().map(|choice| &choice.turn);
        let turns = conversation.turns.iter().chain(choices);
        let mut turns: Vec<_> = turns.map(|turn| TurnText { role: turn.role.clone(), text: turn_text(turn) }).collect();
        turns.push(TurnText { role: "Other members".to_owned(), text: members_text(stored.trace()) });
        Self { key, facts: known(key, &Header::read(stored.trace()), json.len()), turns }
    }

    fn fact(&self, name: &str) -> &str {
        self.facts.iter().find(|(own, _)| *own == name).map_or("", |(_, value)| value)
    }
}

/// Shows the facts of both traces, and marks those that differ.
fn facts_of(left: &Side<'_>, right: &Side<'_>) -> Markup {
    let mut names: Vec<_> = left.facts.iter().map(|(name, _)| *name).collect();
    names.extend(right.facts.iter().map(|(name, _)| *name).filter(|name| left.fact(name).is_empty()));
    html! {
        table.compared {
            thead { tr { th scope="col" { "fact" } @for side in [left, right] {
                th scope="col" { a href=(trace_url(side.key, &[])) { (side.key) } }
            } } }
            tbody {
                @for name in names.into_iter().filter(|name| *name != "key") {
                    tr {
                        th scope="row" { (name) }
                        @for side in [left, right] {
                            td { @if left.fact(name) == right.fact(name) { (side.fact(name)) } @else { mark { (side.fact(name)) } } }
                        }
                    }
                }
            }
        }
    }
}

/// Aligns turns with the same role and text, and between them turns with the same role.
fn aligned<'t>(
    left: &'t [TurnText],
    right: &'t [TurnText],
    deadline: Instant,
) -> Vec<(Option<&'t TurnText>, Option<&'t TurnText>)> {
    let mut pairs = Vec::new();
    for op in capture_diff_slices_deadline(Algorithm::Myers, left, right, Some(deadline)) {
        let (tag, old, new) = op.as_tag_tuple();
        if tag == DiffTag::Equal {
            pairs.extend(left[old].iter().map(Some).zip(right[new].iter().map(Some)));
        } else {
            add_by_role(&left[old], &right[new], deadline, &mut pairs);
        }
    }
    pairs
}

fn add_by_role<'t>(
    left: &'t [TurnText],
    right: &'t [TurnText],
    deadline: Instant,
    pairs: &mut Vec<(Option<&'t TurnText>, Option<&'t TurnText>)>,
) {
    let roles = |turns: &'t [TurnText]| turns.iter().map(|turn| turn.role.as_str()).collect::<Vec<_>>();
    for op in capture_diff_slices_deadline(Algorithm::Myers, &roles(left), &roles(right), Some(deadline)) {
        let (tag, old, new) = op.as_tag_tuple();
        if tag == DiffTag::Equal {
            pairs.extend(left[old].iter().map(Some).zip(right[new].iter().map(Some)));
        } else {
            pairs.extend(left[old].iter().map(|turn| (Some(turn), None)));
            pairs.extend(right[new].iter().map(|turn| (None, Some(turn))));
        }
    }
}

fn pair_of(pair: (Option<&TurnText>, Option<&TurnText>), deadline: Instant) -> Markup {
    match pair {
        (Some(one), Some(other)) if one == other => {
            let summary: String = one.text.chars().take(SUMMARY).collect();
            html! {
                details.same {
                    summary { (one.role) " " small { "the same: " (summary) } }
                    pre.content { (one.text) }
                }
            }
        }
        (Some(one), Some(other)) => {
            let diff = TextDiff::configure().deadline(deadline).diff_words(&one.text, &other.text);
            let has_words = diff.ratio() >= SIMILAR;
            let marked = |own: ChangeTag, text: &str| {
                html! {
                    @if has_words {
                        @for change in diff.iter_all_changes() {
                            @if change.tag() == ChangeTag::Equal { (change.value()) }
                            @else if change.tag() == own { mark { (change.value()) } }
                        }
                    } @else { mark { (text) } }
                }
            };
            html! {
                div.sides {
                    (turn(one, &marked(ChangeTag::Delete, &one.text)))
                    (turn(other, &marked(ChangeTag::Insert, &other.text)))
                }
            }
        }
        (one, other) => html! {
            div.sides {
                @for side in [one, other] {
                    @if let Some(side) = side { (turn(side, &html! { mark { (side.text) } })) } @else { div.absent {} }
                }
            }
        },
    }
}

fn turn(turn: &TurnText, text: &Markup) -> Markup {
    html! { article data-role=(turn.role) { h2 { (turn.role) } pre.content { (text) } } }
}
