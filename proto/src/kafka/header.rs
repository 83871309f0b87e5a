//! The headers that lead every frame.

use bytes::{Bytes, BytesMut};

pub use super::records::request_header::RequestHeader;
pub use super::records::response_header::ResponseHeader;
use super::{ApiKey, DecodeError, EncodeError, Message};

/// The first eight bytes of every request, the same in every version of the header: enough to say what the rest is,
/// also for an API or a version that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestPrefix {
    /// The API; see [`ApiKey::from_code`].
    pub api_key: i16,
    /// The version of the request.
    pub api_version: i16,
    /// What the response repeats.
    pub correlation_id: i32,
}

impl RequestPrefix {
    /// Reads it from the front of a frame without its length; nothing is taken off.
    ///
    /// # Errors
    /// When there are fewer than eight bytes.
    pub fn peek(frame: &[u8]) -> Result<Self, DecodeError> {
        let Some([k0, k1, v0, v1, c0, c1, c2, c3]) = frame.first_chunk() else {
            return Err(DecodeError::Truncated {
                at: 0,
                needed: 8,
                left: frame.len(),
            });
        };
        Ok(Self {
            api_key: i16::from_be_bytes([*k0, *k1]),
            api_version: i16::from_be_bytes([*v0, *v1]),
            correlation_id: i32::from_be_bytes([*c0, *c1, *c2, *c3]),
        })
    }
}

impl RequestHeader {
    /// Takes the header off the front of a frame, in the header version that the API has at the request's version.
    /// The request's version is not checked: the answer to one that is not served depends on the API.
    ///
    /// # Errors
    /// When the API is unknown or the header is bad: Kafka closes the connection on both.
    pub fn parse(frame: &mut Bytes) -> Result<(ApiKey, Self), DecodeError> {
        let prefix = RequestPrefix::peek(frame)?;
        let api = ApiKey::from_code(prefix.api_key).ok_or(DecodeError::UnknownApi { key: prefix.api_key })?;
        let header = Self::decode(frame, api.request_header_version(prefix.api_version))?;
        Ok((api, header))
    }
}

impl ResponseHeader {
    /// Writes the header of a response to a request of this API and version at the end of `buf`.
    ///
    /// # Errors
    /// None in practice: a correlation id always fits.
    pub fn write_for(buf: &mut BytesMut, api: ApiKey, version: i16, correlation_id: i32) -> Result<(), EncodeError> {
        let header = Self {
            correlation_id,
            ..Self::default()
        };
        header.encode(buf, api.response_header_version(version))
    }
}
