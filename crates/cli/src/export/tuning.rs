//! A trace → an example for fine-tuning, `{"messages": …}`.

use clap::Args;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Which traces become examples.
#[derive(Debug, Clone, Args)]
pub struct Tuning {
    /// For fine-tuning: only conversations of this many messages or more
    #[arg(long, value_name = "N")]
    min_messages: Option<usize>,
    /// For fine-tuning: only conversations whose last message has this role
    #[arg(long, value_name = "ROLE")]
    last_role: Option<String>,
    /// For fine-tuning: each conversation once; takes 16 bytes of memory and some for each
    #[arg(long)]
    pub dedupe: bool,
}

type Message<'a> = IndexMap<String, &'a RawValue>;

#[derive(Deserialize)]
struct Trace<'a> {
    #[serde(borrow)]
    messages: Vec<Message<'a>>,
}

#[derive(Serialize)]
struct Example<'a> {
    messages: Vec<Message<'a>>,
}

impl Tuning {
    pub fn is_any(&self) -> bool {
        self.min_messages.is_some() || self.last_role.is_some() || self.dedupe
    }

    /// The line of a trace; `None` if it is left out. A message is as the provider had it: what the schema changed of it is in
    /// its member `original` (docs/api.md).
    pub fn example(&self, trace: &[u8]) -> Option<Vec<u8>> {
        let Trace { mut messages } = serde_json::from_slice(trace).ok()?;
        messages.iter_mut().for_each(restore);
        let role = messages.last().and_then(|last| serde_json::from_str::<String>(last.get("role")?.get()).ok());
        let is_wanted = messages.len() >= self.min_messages.unwrap_or(1)
            && self.last_role.as_ref().is_none_or(|wanted| Some(wanted) == role.as_ref());
        let example = is_wanted.then_some(Example { messages })?;
        Some(serde_json::to_vec(&example).expect("what was JSON is JSON"))
    }
}

/// Gives a message the role and content that the provider had.
fn restore(message: &mut Message<'_>) {
    let original =
        message.get("original").and_then(|original| serde_json::from_str::<Message<'_>>(original.get()).ok());
    let Some(original) = original.filter(|original| !original.is_empty()) else { return };
    if original.keys().any(|name| !["role", "content", "original"].contains(&name.as_str())) {
        return; // the application's own member
    }
    for name in ["role", "content", "original"] {
        match original.get(name) {
            Some(value) => drop(message.insert(name.to_owned(), value)),
            None => drop(message.shift_remove(name)),
        }
    }
}
