//! Renders the token counts of a call as a bar with numbers.

use attest_mapping::conversation::Tokens;
use indicatif::HumanCount;
use maud::{Markup, html};

/// The width of the bar, in view box units.
const WIDTH: u64 = 1_000;

/// Shows the bar. Returns nothing if no token counts are known.
pub fn bar(tokens: Tokens) -> Markup {
    let parts = tokens.parts();
    let total = parts.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
    let label = parts.iter().map(|(name, count)| format!("{} {name}", HumanCount(*count))).collect::<Vec<_>>();
    let mut left = 0_u64;
    let placed: Vec<_> = parts
        .iter()
        .map(|(name, count)| {
            let x = scaled(left, total);
            left = left.saturating_add(*count);
            (*name, x, scaled(left, total).saturating_sub(x).max(2))
        })
        .collect();
    html! {
        @if total > 0 {
            div.usage {
                svg viewBox=(format!("0 0 {WIDTH} 10")) preserveAspectRatio="none" role="img"
                    aria-label=(format!("Tokens: {}", label.join(", "))) {
                    @for (name, x, width) in &placed {
                        rect class=(format!("t-{name}")) x=(x) y="0" width=(width) height="10" {}
                    }
                }
                ul.legend {
                    @for ((name, _), label) in parts.iter().zip(&label) {
                        li { span class=(format!("swatch t-{name}")) {} (label) }
                    }
                }
            }
        }
    }
}

fn scaled(count: u64, total: u64) -> u64 {
    let place = u128::from(count) * u128::from(WIDTH) / u128::from(total.max(1));
    u64::try_from(place).unwrap_or(WIDTH)
}
