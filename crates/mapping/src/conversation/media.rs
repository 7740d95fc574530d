//! Images, audio and files of a message.

use super::json::{Json, Members};

/// Images that browsers show and that cannot contain a script.
const IMAGES: [&str; 6] = ["image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp"];

/// Audio that browsers play.
const AUDIO: [&str; 11] = [
    "audio/wav",
    "audio/x-wav",
    "audio/mpeg",
    "audio/mp3",
    "audio/mp4",
    "audio/m4a",
    "audio/aac",
    "audio/ogg",
    "audio/opus",
    "audio/flac",
    "audio/webm",
];

/// The kind of a medium, which determines how it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaKind {
    Image,
    Audio,
    File,
}

/// The source of a medium's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaSource {
    /// The content as validated base64.
    Data { media_type: String, base64: String },
    /// An external location, which the page never loads.
    Elsewhere(String),
    /// Text, such as the text of a document.
    Text(String),
}

/// An image, audio or a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    pub kind: MediaKind,
    pub name: Option<String>,
    pub source: MediaSource,
}

impl Media {
    /// Reads content that should be base64. Other text is never put into a URL.
    pub fn base64(media_type: &str, base64: &str, name: Option<String>) -> Self {
        let media_type = media_type.trim().to_ascii_lowercase();
        let base64: String = base64.chars().filter(|character| !character.is_ascii_whitespace()).collect();
        let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
        if base64.is_empty() || !base64.bytes().all(is_base64) {
            return Self { kind: MediaKind::File, name, source: MediaSource::Elsewhere("(not base64)".to_owned()) };
        }
        let kind = if IMAGES.contains(&media_type.as_str()) {
            MediaKind::Image
        } else if AUDIO.contains(&media_type.as_str()) {
            MediaKind::Audio
        } else {
            MediaKind::File
        };
        Self { kind, name, source: MediaSource::Data { media_type, base64 } }
    }

    /// Reads a URL: the content of a base64 `data:` URL, or otherwise an external location.
    fn url(kind: MediaKind, url: &str, name: Option<String>) -> Self {
        let data =
            url.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("data:")).and_then(|_| url[5..].split_once(','));
        if let Some((head, base64)) = data
            && let Some(media_type) = head.strip_suffix(";base64")
        {
            return Self::base64(media_type.split(';').next().unwrap_or_default(), base64, name);
        }
        Self { kind, name, source: MediaSource::Elsewhere(url.to_owned()) }
    }

    /// Reads a part of a message by its type. Returns `None` if it is not a medium.
    pub fn of_block(kind: &str, part: &Members<'_>) -> Option<Self> {
        let text = |names: &[&str]| part.first_string(names);
        match kind {
            "image_url" | "input_image" | "computer_screenshot" => {
                let url = part.get("image_url");
                let url = url.and_then(Json::string).or_else(|| url?.object()?.string("url"));
                let url = url.or_else(|| text(&["file_id"]))?;
                Some(Self::url(MediaKind::Image, &url, None))
            }
            "image" | "document" | "audio" | "video" => {
                let name = text(&["title", "filename", "name"]);
                let kind = if kind == "image" { MediaKind::Image } else { MediaKind::File };
                Self::of_source(kind, &part.object("source"), name)
            }
            "input_audio" => {
                let audio = part.object("input_audio");
                let format = audio.string("format").unwrap_or_default();
                let media_type = if format == "mp3" { "audio/mpeg".to_owned() } else { format!("audio/{format}") };
                Some(Self::base64(&media_type, &audio.string("data")?, None))
            }
            "file" | "input_file" => {
                let file = if part.get("file").is_some() { part.object("file") } else { part.clone() };
                let name = file.string("filename");
                if let Some(data) = file.string("file_data") {
                    return Some(match Self::url(MediaKind::File, &data, name.clone()) {
                        Self { source: MediaSource::Elsewhere(_), .. } => {
                            Self::base64("application/octet-stream", &data, name)
                        }
                        file => file,
                    });
                }
                let place = file.first_string(&["file_url", "file_id"])?;
                Some(Self { kind: Self::modality(part), name, source: MediaSource::Elsewhere(place) })
            }
            "blob" => {
                // Browsers recognize the format of an image or of audio whose media type is not known.
                let of_modality = match Self::modality(part) {
                    MediaKind::Image => "image/png",
                    MediaKind::Audio => "audio/wav",
                    MediaKind::File => "application/octet-stream",
                };
                let media_type = text(&["mime_type"]).unwrap_or_else(|| of_modality.to_owned());
                Some(Self::base64(&media_type, &text(&["content", "data"])?, None))
            }
            "uri" => Some(Self::url(Self::modality(part), &text(&["uri"])?, None)),
            _ => None,
        }
    }

    /// Returns the kind of an OpenTelemetry part.
    fn modality(part: &Members<'_>) -> MediaKind {
        match part.string("modality").as_deref() {
            Some("image") => MediaKind::Image,
            Some("audio") => MediaKind::Audio,
            _ => MediaKind::File,
        }
    }

    /// Reads an Anthropic `source`.
    fn of_source(kind: MediaKind, source: &Members<'_>, name: Option<String>) -> Option<Self> {
        let media_type = source.string("media_type").unwrap_or_default();
        match source.string("type")?.as_str() {
            "base64" => Some(Self::base64(&media_type, &source.string("data")?, name)),
            "text" => Some(Self { kind, name, source: MediaSource::Text(source.string("data")?) }),
            _ => {
                let place = source.first_string(&["url", "file_id"])?;
                Some(Self { kind, name, source: MediaSource::Elsewhere(place) })
            }
        }
    }
}
