//! The Kafka wire protocol: one struct per message of the schema in `proto/kafka/`, with its codec.
//!
//! Decoding borrows: strings, bytes and records are slices of the frame. It is bounded: no length from the wire
//! makes it reserve more than the bytes that are there can hold, nothing panics, nothing recurses. Records are never
//! looked into.

mod api_key;
mod byte_str;
mod error;
mod error_code;
#[doc(hidden)]
pub mod fuzz;
mod header;
mod message;
mod reader;
mod writer;

pub use api_key::{ApiKey, ApiVisitor};
pub use byte_str::ByteStr;
pub use error::{DecodeError, EncodeError};
pub use error_code::ErrorCode;
pub use header::{RequestHeader, RequestPrefix, ResponseHeader};
pub use message::{Body, Message, MessageVisitor, RecordKey, RecordValue, Request, VersionedData, peek_int16};
pub use reader::{Reader, TaggedFields};
pub use writer::Writer;

/// Requests and responses, a module per API.
#[allow(unused_imports, unused_variables, clippy::all, clippy::too_many_lines)]
pub mod messages {
    include!(concat!(env!("OUT_DIR"), "/kafka/messages.rs"));
}

/// Records of the internal topics and other data that is not an API: frame headers, control records, and what
/// clients put into the group protocol.
#[allow(unused_imports, unused_variables, clippy::all, clippy::too_many_lines)]
pub mod records {
    include!(concat!(env!("OUT_DIR"), "/kafka/records.rs"));
}
