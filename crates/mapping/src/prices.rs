//! Computes the cost of a call: its tokens at the model's list price on that day.
//!
//! `prices.jsonl` is the built-in price table. `docs/reading.md` computes the same costs in SQL from the same file, and
//! `cost-cases.json` tests both.

use std::{collections::HashSet, fmt};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::Deserialize;

use crate::conversation::Header;

/// A model's prices from a day on, in dollars per million tokens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Price {
    model: String,
    since: Date,
    input: f64,
    /// `None` if the price is that of `input`.
    #[serde(default)]
    cache_read: Option<f64>,
    #[serde(default)]
    cache_write: Option<f64>,
    output: f64,
}

#[derive(Debug, Clone)]
pub struct Prices(Vec<Price>);

/// A line in a price table that is not a price, and the reason.
#[derive(Debug, PartialEq, Eq)]
pub struct PriceError {
    line: usize,
    reason: String,
}

impl std::error::Error for PriceError {}

impl fmt::Display for PriceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} is not a price: {}", self.line, self.reason)
    }
}

impl Default for Prices {
    fn default() -> Self {
        Self::read(include_str!("../prices.jsonl")).expect("a test reads the table")
    }
}

impl Prices {
    /// Parses a table in JSON Lines.
    pub fn read(text: &str) -> Result<Self, PriceError> {
        let mut prices = Vec::new();
        let mut days = HashSet::new();
        for (place, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let price = read_price(line).and_then(|price| {
                let is_new = days.insert((price.model.clone(), price.since));
                if is_new { Ok(price) } else { Err("the model has another price since the same day".to_owned()) }
            });
            prices.push(price.map_err(|reason| PriceError { line: place + 1, reason })?);
        }
        Ok(Self(prices))
    }

    /// Returns the cost in dollars. It is unknown if the model has no price on that day, or if the number of input
    /// tokens is unknown.
    pub fn cost(&self, header: &Header) -> Option<f64> {
        let tokens = header.tokens;
        let input = tokens.input?;
        let price = self.of(&header.model, day(&header.created)?)?;
        let (read, written) = (tokens.cached.unwrap_or_default(), tokens.cache_written.unwrap_or_default());
        let parts = [
            (input.saturating_sub(read).saturating_sub(written), price.input),
            (read, price.cache_read.unwrap_or(price.input)),
            (written, price.cache_write.unwrap_or(price.input)),
            (tokens.output.unwrap_or_default(), price.output),
        ];
        #[expect(clippy::cast_precision_loss, reason = "a count of more than 2^53 tokens is not a count")]
        let dollars = parts.into_iter().map(|(count, price)| count as f64 * price).sum::<f64>();
        Some(dollars / 1e6)
    }

    /// Returns a model's newest price on a day. A price for the exact name takes precedence over one for the undated
    /// name.
    fn of(&self, model: &str, day: Date) -> Option<&Price> {
        let undated = undated(model);
        let is_of_model = |price: &&Price| (price.model == model || price.model == undated) && price.since <= day;
        self.0.iter().filter(is_of_model).max_by_key(|price| (price.model == model, price.since))
    }
}

fn read_price(line: &str) -> Result<Price, String> {
    let price: Price = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let all = [Some(price.input), price.cache_read, price.cache_write, Some(price.output)];
    let is_price = |price: f64| price.is_finite() && price >= 0.0;
    if all.into_iter().flatten().all(is_price) { Ok(price) } else { Err("a price is negative".to_owned()) }
}

/// Returns the UTC day of a time in the format of [`Header::created`].
fn day(created: &str) -> Option<Date> {
    Some(created.parse::<Timestamp>().ok()?.to_zoned_datetime(TimeZone::UTC).date())
}

/// Returns a model's name without the date of its snapshot, such as `-2024-08-06` or `-20251001`.
fn undated(model: &str) -> &str {
    let is_date = |date: &str, pattern: &str| {
        let fits = |(of, expected): (u8, u8)| if expected == b'0' { of.is_ascii_digit() } else { of == expected };
        date.len() == pattern.len() && date.bytes().zip(pattern.bytes()).all(fits)
    };
    ["-0000-00-00", "-00000000"]
        .into_iter()
        .find_map(|pattern| {
            let (name, date) = model.split_at_checked(model.len().checked_sub(pattern.len())?)?;
            is_date(date, pattern).then_some(name)
        })
        .unwrap_or(model)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::json::Members;

    fn header(trace: &Value) -> Header {
        Header::read(&Members::read(trace.to_string().as_bytes()))
    }

    #[test]
    fn every_case_has_its_cost() {
        let cases: Vec<Value> = serde_json::from_str(include_str!("../cost-cases.json")).expect("a list of cases");
        for case in cases {
            let day: Date = case["created"].as_str().expect("a day").parse().expect("a day");
            let created =
                day.at(23, 59, 59, 0).to_zoned_datetime(TimeZone::UTC).expect("a time").timestamp().as_second();
            let trace = json!({"model": case["model"], "created": created, "usage": case["usage"]});
            let cost = Prices::default().cost(&header(&trace));
            let is_near = |expected: f64| cost.is_some_and(|cost| (cost - expected).abs() < 1e-9);
            let expected = case["cost"].as_f64();
            assert!(expected.map_or(cost.is_none(), is_near), "{}: {cost:?}", case["name"]);
        }
    }

    #[test]
    fn a_time_that_is_none_has_no_cost() {
        for created in [json!(1_746_709_563_492_141_000_i64), json!("soon"), json!(null)] {
            let trace = json!({"model": "gpt-4o", "created": created, "usage": {"prompt_tokens": 1}});
            assert_eq!(Prices::default().cost(&header(&trace)), None, "{created}");
        }
    }

    #[test]
    fn a_table_of_ones_own_replaces_the_prices() {
        let own = Prices::read("\n{\"model\":\"m\",\"since\":\"1970-01-01\",\"input\":1,\"output\":0.5}\r\n")
            .expect("a table");
        let trace = |model| header(&json!({"model": model, "created": 0, "usage": {"prompt_tokens": 1_000_000}}));
        assert_eq!((own.cost(&trace("m")), own.cost(&trace("gpt-4o"))), (Some(1.0), None));
    }

    #[test]
    fn a_line_that_is_no_price_is_named() {
        let line = |rest: &str| format!("{{\"model\":\"m\",\"since\":\"2026-01-01\",\"input\":1,\"output\":1{rest}}}");
        for (second, reason) in [
            ("x".to_owned(), "expected value"),
            (line(",\"cached\":1"), "unknown field `cached`"),
            (line(",\"cache_read\":-1"), "a price is negative"),
            (line(""), "another price since the same day"),
            ("{\"model\":\"m\",\"since\":\"soon\",\"input\":1,\"output\":1}".to_owned(), "as year"),
            ("{\"model\":\"m\",\"since\":\"2026-02-01\",\"input\":1}".to_owned(), "missing field `output`"),
        ] {
            let error = Prices::read(&format!("{}\n{second}", line(""))).expect_err(reason).to_string();
            assert!(error.starts_with("line 2 is not a price: ") && error.contains(reason), "{error}");
        }
    }
}
