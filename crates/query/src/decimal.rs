//! JSON numbers, compared by value with every digit. `f64` would lose digits. Decimal crates limit the exponent, or
//! need memory in proportion to it, but a trace may contain `1e999999999`.

use std::cmp::Ordering;

/// `0.digits × 10^exponent`. The digits neither start nor end with 0, and zero has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal {
    is_negative: bool,
    digits: String,
    /// Exponents outside the range of `i128` are clamped to its bounds.
    exponent: i128,
}

impl Decimal {
    /// Parses a JSON number (RFC 8259, section 6).
    pub fn parse(text: &str) -> Option<Self> {
        let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, self::exponent(exponent)?),
            None => (text, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (mantissa, ""),
        };
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) || whole.len() > 1 && whole.starts_with('0') {
            return None;
        }
        let all = format!("{whole}{fraction}");
        let digits = all.trim_start_matches('0');
        let zeros = all.len() - digits.len();
        let digits = digits.trim_end_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Self { is_negative: false, digits, exponent: 0 });
        }
        let point = i128::try_from(whole.len()).ok()? - i128::try_from(zeros).ok()?;
        Some(Self { is_negative, digits, exponent: exponent.saturating_add(point) })
    }
}

fn exponent(text: &str) -> Option<i128> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let exponent = digits.parse().unwrap_or(i128::MAX);
    Some(if is_negative { -exponent } else { exponent })
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |number: &Self| match (number.digits.is_empty(), number.is_negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        let magnitude = || (self.exponent, &self.digits).cmp(&(other.exponent, &other.digits));
        sign(self).cmp(&sign(other)).then_with(|| match sign(self) {
            0 => Ordering::Equal,
            1 => magnitude(),
            _ => magnitude().reverse(),
        })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cmp(one: &str, other: &str) -> Ordering {
        let number = |text| Decimal::parse(text).unwrap_or_else(|| panic!("{text} is a number"));
        number(one).cmp(&number(other))
    }

    #[test]
    fn every_digit_counts() {
        for (less, greater) in [
            ("9007199254740992", "9007199254740993"),
            ("1e400", "1.0000000000000000000000001e400"),
            ("-1e400", "1e-400"),
            ("1e999999999999999999999999", "1e9999999999999999999999990"),
            ("-2", "-1.5"),
            ("0.30000000000000001", "0.30000000000000004"),
            ("9.99", "10"),
            ("-0", "0.001"),
        ] {
            assert_eq!(cmp(less, greater), Ordering::Less, "{less} {greater}");
            assert_eq!(cmp(greater, less), Ordering::Greater, "{less} {greater}");
        }
        for (one, other) in [("1", "1.0"), ("100", "1E+2"), ("-0.0", "0e7"), ("0.050", "5e-2"), ("12.5e-1", "1.25")] {
            assert_eq!(cmp(one, other), Ordering::Equal, "{one} {other}");
        }
    }

    #[test]
    fn only_numbers_of_json_are_read() {
        for text in [
            "", "-", "+1", ".5", "5.", "007", "1e", "1e+", "0x1", "1_000", "NaN", "Infinity", "1 ", "1,5", "--1",
            "1e5.0",
        ] {
            assert!(Decimal::parse(text).is_none(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn decimals_are_ordered_as_integers_of_a_common_scale(
            one in -10_000_i64..10_000, other in -10_000_i64..10_000, places in (0_u32..4, 0_u32..4),
        ) {
            let scaled = |number: i64, places: u32| number * 10_i64.pow(4 - places);
            let text = |number: i64, places: u32| format!("{number}e-{places}");
            let expected = scaled(one, places.0).cmp(&scaled(other, places.1));
            prop_assert_eq!(cmp(&text(one, places.0), &text(other, places.1)), expected);
        }
    }
}
