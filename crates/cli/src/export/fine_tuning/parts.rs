//! The parts of a message's content: text and images.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    json::{Members, list, members, text},
    refusal::Refusal,
    role::Role,
};

/// A part in the form of Chat Completions.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part<'a> {
    Text { text: &'a RawValue },
    ImageUrl { image_url: ImageUrl },
}

#[derive(Serialize)]
pub struct ImageUrl {
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl Part<'_> {
    pub fn is_image(&self) -> bool {
        matches!(self, Self::ImageUrl { .. })
    }
}

/// Converts the parts of a message. Leaves out thinking and calls: the format has no member for thinking, and the
/// message already has the calls.
pub fn convert<'a>(parts: &[&'a RawValue], role: Role) -> Result<Vec<Part<'a>>, Refusal> {
    parts.iter().filter_map(|part| convert_part(part, role).transpose()).collect()
}

fn convert_part(part: &RawValue, role: Role) -> Result<Option<Part<'_>>, Refusal> {
    let part = members(part).ok_or(Refusal::UnknownContent)?;
    let kind = text(&part, "type").ok_or(Refusal::UnknownContent)?;
    match kind.as_str() {
        "text" | "input_text" | "output_text" => {
            let text = part.get("text").filter(|text| text.get().starts_with('"')).ok_or(Refusal::UnknownContent)?;
            Ok(Some(Part::Text { text }))
        }
        "refusal" | "thinking" | "redacted_thinking" | "reasoning_text" | "tool_use" => Ok(None),
        "tool_result" => {
            let content = part.get("content").and_then(|content| list(content)).unwrap_or_default();
            convert(&content, Role::Tool)?;
            Ok(None)
        }
        // Only messages of the user may contain images (OpenAI's guide to vision fine-tuning, "Image data requirements").
        "image_url" | "input_image" | "image" if role == Role::User => {
            let image_url = image_url(&part).ok_or(Refusal::Image)?;
            Ok(Some(Part::ImageUrl { image_url }))
        }
        other => Err(refusal_of(other)),
    }
}

/// Returns the URL of an image: of Chat Completions, of the Responses API, or of Anthropic's Messages API.
fn image_url(part: &Members<'_>) -> Option<ImageUrl> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Source {
        Nested { url: String, detail: Option<String> },
        Base64 { media_type: String, data: String },
        Url(String),
    }
    let source = part.get("image_url").or_else(|| part.get("source"))?;
    let (url, detail) = match serde_json::from_str(source.get()).ok()? {
        Source::Nested { url, detail } => (url, detail),
        Source::Base64 { media_type, data } => (format!("data:{media_type};base64,{data}"), None),
        Source::Url(url) => (url, text(part, "detail")),
    };
    let is_url = ["data:image/", "http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
    is_url.then_some(ImageUrl { url, detail })
}

/// Returns the reason why a part or an item of this type cannot be in an example.
pub fn refusal_of(kind: &str) -> Refusal {
    match kind {
        "audio" | "input_audio" | "output_audio" => Refusal::Audio,
        "image_url" | "input_image" | "image" | "computer_screenshot" => Refusal::Image,
        "file" | "input_file" | "document" | "search_result" | "container_upload" => Refusal::File,
        "server_tool_use" | "mcp_tool_use" | "mcp_list_tools" | "mcp_approval_request" | "mcp_approval_response" => {
            Refusal::NotAFunction
        }
        _ if ["_call", "_call_output", "_tool_result"].iter().any(|end| kind.ends_with(end)) => Refusal::NotAFunction,
        _ => Refusal::UnknownContent,
    }
}
