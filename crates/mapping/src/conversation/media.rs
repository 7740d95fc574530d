//! Images, audio and files of a message.

use data_url::{DataUrl, forgiving_base64};

use crate::json::Members;

/// Image types that browsers display and that cannot contain scripts.
const IMAGES: [&str; 6] = ["image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp"];

/// Audio types that browsers play.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaKind {
    Image,
    Audio,
    File,
}

impl MediaKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "Image",
            Self::Audio => "Audio",
            Self::File => "File",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaSource {
    Data {
        media_type: String,
        bytes: Vec<u8>,
    },
    /// An external location, which the page never loads.
    Elsewhere(String),
    /// Plain text, such as a document's.
    Text(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    pub kind: MediaKind,
    pub name: Option<String>,
    pub source: MediaSource,
}

impl Media {
    /// Decodes content that should be base64. Anything else is never put into a URL.
    pub fn base64(media_type: &str, base64: &str, name: Option<String>) -> Self {
        match forgiving_base64::decode_to_vec(base64.as_bytes()) {
            Ok(bytes) if !bytes.is_empty() => Self::data(media_type, bytes, name),
            _ => Self::not_base64(name),
        }
    }

    fn data(media_type: &str, bytes: Vec<u8>, name: Option<String>) -> Self {
        let media_type = media_type.trim().to_ascii_lowercase();
        let kind = if IMAGES.contains(&media_type.as_str()) {
            MediaKind::Image
        } else if AUDIO.contains(&media_type.as_str()) {
            MediaKind::Audio
        } else {
            MediaKind::File
        };
        Self { kind, name, source: MediaSource::Data { media_type, bytes } }
    }

    fn not_base64(name: Option<String>) -> Self {
        Self { kind: MediaKind::File, name, source: MediaSource::Elsewhere("(not base64)".to_owned()) }
    }

    /// Decodes a `data:` URL. Any other URL is an external location.
    fn url(kind: MediaKind, url: &str, name: Option<String>) -> Self {
        let Ok(data) = DataUrl::process(url) else {
            return Self { kind, name, source: MediaSource::Elsewhere(url.to_owned()) };
        };
        match data.decode_to_vec() {
            Ok((bytes, _)) => {
                let media_type = data.mime_type();
                Self::data(&format!("{}/{}", media_type.type_, media_type.subtype), bytes, name)
            }
            Err(_) => Self::not_base64(name),
        }
    }

    /// Reads a message part according to its type. Returns `None` if it is not media.
    pub fn of_block(kind: &str, part: &Members) -> Option<Self> {
        let text = |names: &[&str]| part.first_string(names);
        match kind {
            "image_url" | "input_image" | "computer_screenshot" => {
                let url = part.get("image_url");
                let url = url.and_then(|url| url.as_str().or_else(|| url.as_object()?.text("url")));
                Some(Self::url(MediaKind::Image, url.or_else(|| part.text("file_id"))?, None))
            }
            "image" | "document" | "audio" | "video" => {
                let name = text(&["title", "filename", "name"]);
                let kind = if kind == "image" { MediaKind::Image } else { MediaKind::File };
                Self::of_source(kind, part.object("source"), name)
            }
            "input_audio" => {
                let audio = part.object("input_audio");
                let format = audio.string("format").unwrap_or_default();
                let media_type = if format == "mp3" { "audio/mpeg".to_owned() } else { format!("audio/{format}") };
                Some(Self::base64(&media_type, &audio.string("data")?, None))
            }
            "file" | "input_file" => {
                let file = if part.contains("file") { part.object("file") } else { part };
                let name = file.string("filename");
                if let Some(data) = file.text("file_data") {
                    let is_url = DataUrl::process(data).is_ok();
                    return Some(if is_url {
                        Self::url(MediaKind::File, data, name)
                    } else {
                        Self::base64("application/octet-stream", data, name)
                    });
                }
                let place = file.first_string(&["file_url", "file_id"])?;
                Some(Self { kind: Self::modality(part), name, source: MediaSource::Elsewhere(place) })
            }
            "blob" => {
                // If the media type is missing, any image or audio type works, because browsers detect the format.
                let of_modality = match Self::modality(part) {
                    MediaKind::Image => "image/png",
                    MediaKind::Audio => "audio/wav",
                    MediaKind::File => "application/octet-stream",
                };
                let media_type = text(&["mime_type"]).unwrap_or_else(|| of_modality.to_owned());
                Some(Self::base64(&media_type, &text(&["content", "data"])?, None))
            }
            "uri" => Some(Self::url(Self::modality(part), part.text("uri")?, None)),
            _ => None,
        }
    }

    /// Returns the kind of an OpenTelemetry part.
    fn modality(part: &Members) -> MediaKind {
        match part.string("modality").as_deref() {
            Some("image") => MediaKind::Image,
            Some("audio") => MediaKind::Audio,
            _ => MediaKind::File,
        }
    }

    /// Reads an Anthropic `source`.
    fn of_source(kind: MediaKind, source: &Members, name: Option<String>) -> Option<Self> {
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
