//! The current semantic conventions for generative AI (1.37 and later), which Pydantic AI, OpenLLMetry from 0.62 and AI
//! SDK 7 use too. Messages are structured attributes, or JSON text.

use serde_json::{Value, json};

use super::{CallMessages, items};
use crate::{attributes::Attributes, message};

const INSTRUCTIONS: &str = "gen_ai.system_instructions";

pub fn read(attributes: &Attributes<'_>) -> CallMessages {
    let mut conversation = CallMessages::default();
    let mut is_cut = false;
    let instructions = items(attributes, INSTRUCTIONS, &mut is_cut);
    if !instructions.is_empty() {
        let prompt = match instructions.as_slice() {
            [text @ Value::String(_)] => json!({"role": "system", "content": text}),
            parts => json!({"role": "system", "parts": parts}),
        };
        for mut message in message::read(&prompt, message::Side::Request) {
            message["member"] = INSTRUCTIONS.into();
            conversation.request.push(message);
        }
    }
    for message in items(attributes, "gen_ai.input.messages", &mut is_cut) {
        conversation.ask(&message);
    }
    conversation.reply_with_choices(&items(attributes, "gen_ai.output.messages", &mut is_cut));
    conversation.is_cut = is_cut;
    conversation
}
