//! The current semantic conventions for generative AI (1.37 and later), which Pydantic AI, OpenLLMetry from 0.62 and AI
//! SDK 7 also use. Messages are structured attributes or JSON strings.

use serde_json::{Value, json};

use super::{CallMessages, items};
use crate::{attributes::Attributes, message};

pub const INSTRUCTIONS: &str = "gen_ai.system_instructions";
pub const INPUT: &str = "gen_ai.input.messages";
pub const OUTPUT: &str = "gen_ai.output.messages";

pub fn read(attributes: &Attributes<'_>) -> CallMessages {
    let mut conversation = CallMessages::default();
    let mut is_cut = false;
    instruct(&mut conversation, &items(attributes, INSTRUCTIONS, &mut is_cut));
    for message in items(attributes, INPUT, &mut is_cut) {
        conversation.ask(&message);
    }
    conversation.reply_with_choices(&items(attributes, OUTPUT, &mut is_cut));
    conversation.is_cut = is_cut;
    conversation
}

/// Adds the system prompt, whose parts Gemini CLI wraps in a message.
pub fn instruct(conversation: &mut CallMessages, instructions: &[Value]) {
    let prompt = match instructions {
        [] => return,
        [text @ Value::String(_)] => json!({"role": "system", "content": text}),
        [message] if message["parts"].is_array() => json!({"role": "system", "parts": message["parts"]}),
        parts => json!({"role": "system", "parts": parts}),
    };
    for mut message in message::read(&prompt, message::Side::Request) {
        message["member"] = INSTRUCTIONS.into();
        conversation.request.push(message);
    }
}
