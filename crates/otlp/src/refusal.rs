//! Error responses: `google.rpc.Status` in the request's encoding (OTLP specification, "Failures").

use prost::Message;
use serde_json::json;

use crate::wire::{DecodeError, Encoding};

/// `google.rpc.Status` from googleapis, without `details`.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("{0}")]
    Decode(#[from] DecodeError),
    #[error("The body is not gzip, as Content-Encoding says.")]
    NotGzip,
    #[error("The body has more than {limit} bytes: send smaller batches (OTEL_BSP_MAX_EXPORT_BATCH_SIZE).")]
    TooLarge { limit: usize },
    #[error("The traces of the batch would be {factor} times as large as a body may be: send smaller batches.")]
    Expanded { factor: usize },
    #[error("Content-Type is neither application/x-protobuf nor application/json.")]
    MediaType,
    #[error("Content-Encoding is neither gzip nor identity.")]
    Coding,
    /// The log contains the reason.
    #[error("Not every span is confirmed by S3. Repeat the request.")]
    Unconfirmed,
    #[error("The request failed by a defect of the service.")]
    Panicked,
}

impl Refusal {
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Decode(_) | Self::NotGzip => 400,
            Self::TooLarge { .. } | Self::Expanded { .. } => 413,
            Self::MediaType | Self::Coding => 415,
            Self::Panicked => 500,
            Self::Unconfirmed => 503,
        }
    }

    fn code(&self) -> i32 {
        match self {
            Self::Decode(_) | Self::NotGzip | Self::MediaType | Self::Coding => 3, // INVALID_ARGUMENT
            Self::TooLarge { .. } | Self::Expanded { .. } => 8,                    // RESOURCE_EXHAUSTED
            Self::Panicked => 13,                                                  // INTERNAL
            Self::Unconfirmed => 14,                                               // UNAVAILABLE
        }
    }

    #[must_use]
    pub fn body(&self, encoding: Encoding) -> Vec<u8> {
        let (code, message) = (self.code(), self.to_string());
        match encoding {
            Encoding::Protobuf => Status { code, message }.encode_to_vec(),
            Encoding::Json => json!({"code": code, "message": message}).to_string().into_bytes(),
        }
    }
}
