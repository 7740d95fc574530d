//! Parses JSON.

use std::{borrow::Cow, collections::HashSet};

use jiter::{Jiter, JiterError, Peek};

use super::{Json, MAX_DEPTH, Members, raw};
use crate::error::Unmapped;

/// Below this number of members, comparing names is faster than hashing them.
const FEW: usize = 16;

/// Parses a stored value, in which names may be repeated.
pub fn stored(json: &[u8]) -> Option<Json> {
    JsonReader { jiter: Jiter::new(json), may_repeat_names: true }.whole().ok()
}

/// Parses a log line, in which no name may be repeated. NaN and infinities, which some languages write, become strings;
/// unpaired surrogates become U+FFFD.
pub fn parse(text: &[u8]) -> Result<Json, Unmapped> {
    let text = with_paired_surrogates(text);
    JsonReader { jiter: Jiter::new(&text).with_allow_inf_nan(), may_repeat_names: false }.whole()
}

struct JsonReader<'j> {
    jiter: Jiter<'j>,
    may_repeat_names: bool,
}

impl JsonReader<'_> {
    fn whole(&mut self) -> Result<Json, Unmapped> {
        let peek = self.jiter.peek()?;
        let value = self.value(peek, MAX_DEPTH)?;
        self.jiter.finish()?;
        Ok(value)
    }

    /// Parses a value of at most `depth` levels.
    fn value(&mut self, peek: Peek, depth: usize) -> Result<Json, Unmapped> {
        let below =
            || depth.checked_sub(1).ok_or_else(|| Unmapped::Format(format!("It is nested deeper than {MAX_DEPTH}.")));
        Ok(match peek {
            Peek::Null => {
                self.jiter.known_null()?;
                Json::Null
            }
            Peek::True | Peek::False => Json::Bool(self.jiter.known_bool(peek)?),
            Peek::String => Json::String(self.jiter.known_str()?.to_owned()),
            Peek::Array => Json::Array(self.elements(below()?)?),
            Peek::Object => Json::Object(self.members(below()?)?),
            _ => {
                let number = String::from_utf8_lossy(self.jiter.known_number_bytes(peek)?).into_owned();
                if number.ends_with(char::is_alphabetic) { Json::String(number) } else { Json::Number(raw(number)) }
            }
        })
    }

    fn elements(&mut self, depth: usize) -> Result<Vec<Json>, Unmapped> {
        let mut elements = Vec::new();
        let mut next = self.jiter.known_array()?;
        while let Some(peek) = next {
            let element = self.value(peek, depth);
            elements.push(element.map_err(|unmapped| unmapped.below(&elements.len().to_string()))?);
            next = self.jiter.array_step()?;
        }
        Ok(elements)
    }

    fn members(&mut self, depth: usize) -> Result<Members, Unmapped> {
        let mut members = Members::default();
        let mut names = HashSet::new();
        let mut next = self.jiter.known_object()?.map(ToOwned::to_owned);
        while let Some(name) = next {
            if !self.may_repeat_names {
                if members.0.len() == FEW {
                    names = members.0.iter().map(|(name, _)| name.clone()).collect();
                }
                let is_few = members.0.len() < FEW;
                if if is_few { members.contains(&name) } else { !names.insert(name.clone()) } {
                    return Err(Unmapped::RepeatedName { pointer: String::new() }.below(&name));
                }
            }
            let peek = self.jiter.peek()?;
            let member = self.value(peek, depth).map_err(|unmapped| unmapped.below(&name))?;
            members.0.push((name, member));
            next = self.jiter.next_key()?.map(ToOwned::to_owned);
        }
        Ok(members)
    }
}

impl From<JiterError> for Unmapped {
    fn from(error: JiterError) -> Self {
        Self::Format(format!("The line is not JSON: {} at byte {}.", error.error_type, error.index + 1))
    }
}

/// Replaces unpaired surrogate escapes (RFC 8259, section 7) with `\ufffd`, which has the same length.
fn with_paired_surrogates(text: &[u8]) -> Cow<'_, [u8]> {
    let unit = |at: usize| {
        let escape = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(escape).ok()?, 16).ok()
    };
    let mut text_out = Cow::Borrowed(text);
    let mut at = 0;
    while let Some(next) = text[at..].iter().position(|byte| *byte == b'\\').map(|offset| at + offset) {
        at = match unit(next) {
            Some(0xd800..0xdc00) if unit(next + 6).is_some_and(|low| (0xdc00..0xe000).contains(&low)) => next + 12,
            Some(0xd800..0xe000) => {
                text_out.to_mut()[next..next + 6].copy_from_slice(b"\\ufffd");
                next + 6
            }
            _ => next + 2,
        }
        .min(text.len());
    }
    text_out
}
