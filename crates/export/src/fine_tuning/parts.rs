//! The parts of a message's content: text and images.

use std::borrow::Cow;

use attest_mapping::json::{Json, Members};
use serde::Serialize;

use super::{refusal::NoExample, role::Role};

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ExamplePart<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageUrl<'a> },
}

#[derive(Serialize)]
pub struct ImageUrl<'a> {
    url: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

impl ExamplePart<'_> {
    pub fn is_image(&self) -> bool {
        matches!(self, Self::ImageUrl { .. })
    }
}

/// Converts the parts of a message. Leaves out thinking and calls: the format has no member for thinking, and the
/// message already has the calls.
pub fn convert<'a>(parts: &[&'a Json], role: Role) -> Result<Vec<ExamplePart<'a>>, NoExample> {
    parts.iter().filter_map(|part| convert_part(part, role).transpose()).collect()
}

fn convert_part(part: &Json, role: Role) -> Result<Option<ExamplePart<'_>>, NoExample> {
    let part = part.as_object().ok_or(NoExample::UnknownContent)?;
    match part.text("type").ok_or(NoExample::UnknownContent)? {
        "text" | "input_text" | "output_text" => {
            Ok(Some(ExamplePart::Text { text: part.text("text").ok_or(NoExample::UnknownContent)? }))
        }
        "refusal" | "thinking" | "redacted_thinking" | "reasoning_text" | "tool_use" => Ok(None),
        "tool_result" => {
            convert(&part.list("content").iter().collect::<Vec<_>>(), Role::Tool)?;
            Ok(None)
        }
        // Only user messages may contain images (OpenAI's vision fine-tuning guide, "Image data requirements").
        "image_url" | "input_image" | "image" if role == Role::User => {
            let image_url = image_url(part).ok_or(NoExample::Image)?;
            Ok(Some(ExamplePart::ImageUrl { image_url }))
        }
        other => Err(refusal_of(other)),
    }
}

/// Returns the URL of an image part of Chat Completions, the Responses API or Anthropic's Messages API.
fn image_url(part: &Members) -> Option<ImageUrl<'_>> {
    let (url, detail) = match part.get("image_url").or_else(|| part.get("source"))? {
        Json::String(url) => (Cow::Borrowed(url.as_str()), part.text("detail")),
        Json::Object(source) => match source.text("url") {
            Some(url) => (Cow::Borrowed(url), source.text("detail")),
            None => {
                let (media_type, data) = (source.text("media_type")?, source.text("data")?);
                (Cow::Owned(format!("data:{media_type};base64,{data}")), None)
            }
        },
        _ => return None,
    };
    let is_url = ["data:image/", "http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
    is_url.then_some(ImageUrl { url, detail })
}

/// Returns the reason why an example cannot contain a part or an item of this type.
pub fn refusal_of(kind: &str) -> NoExample {
    match kind {
        "audio" | "input_audio" | "output_audio" => NoExample::Audio,
        "image_url" | "input_image" | "image" | "computer_screenshot" => NoExample::Image,
        "file" | "input_file" | "document" | "search_result" | "container_upload" => NoExample::File,
        "server_tool_use" | "mcp_tool_use" | "mcp_list_tools" | "mcp_approval_request" | "mcp_approval_response" => {
            NoExample::NotAFunction
        }
        _ if ["_call", "_call_output", "_tool_result"].iter().any(|end| kind.ends_with(end)) => NoExample::NotAFunction,
        _ => NoExample::UnknownContent,
    }
}
