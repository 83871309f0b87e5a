//! The traits of the generated structs.

use std::fmt::Debug;
use std::ops::RangeInclusive;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{ApiKey, DecodeError, EncodeError, Reader, Writer};

/// A struct on the wire, inside of a message.
pub trait Body: Sized {
    /// Reads the struct in the reader's version.
    ///
    /// # Errors
    /// When the bytes are not such a struct.
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// Writes the struct in the writer's version.
    ///
    /// # Errors
    /// When a field does not fit the version or the wire.
    fn write(&self, w: &mut Writer<'_>) -> Result<(), EncodeError>;

    /// Calls `visit` with every error code in here, 0 included: of the whole, of topics, of partitions.
    fn visit_errors(&self, _visit: &mut dyn FnMut(i16)) {}
}

/// A message with versions: a request, a response, a header, or data inside of records.
pub trait Message: Body + Clone + Debug + Default + PartialEq + Send + Sync + 'static {
    /// Kafka's name.
    const NAME: &'static str;
    /// The versions that the schema has.
    const VERSIONS: RangeInclusive<i16>;
    /// The first flexible version (KIP-482), if any.
    const FLEXIBLE_FROM: Option<i16>;

    /// Whether the version is flexible.
    #[must_use]
    fn is_flexible(version: i16) -> bool {
        Self::FLEXIBLE_FROM.is_some_and(|from| version >= from)
    }

    /// Decodes from the front of `buf` and advances it. What follows the message stays in `buf`: Kafka ignores it,
    /// and so should the caller. After an error `buf` is where it was.
    ///
    /// # Errors
    /// When the schema has no such version or the bytes are not such a message.
    fn decode(buf: &mut Bytes, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion {
                message: Self::NAME,
                version,
            });
        }
        let mut reader = Reader::new(buf, version, Self::is_flexible(version));
        let message = Self::read(&mut reader)?;
        let read = reader.position();
        buf.advance(read);
        Ok(message)
    }

    /// Encodes at the end of `buf`. After an error `buf` is as it was.
    ///
    /// # Errors
    /// When the schema has no such version; when a field that is set is not in the version and must not be left out,
    /// or is null where the version allows none; when a length does not fit the wire.
    fn encode(&self, buf: &mut BytesMut, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion {
                message: Self::NAME,
                version,
            });
        }
        let start = buf.len();
        let result = self.write(&mut Writer::new(buf, version, Self::is_flexible(version)));
        if result.is_err() {
            buf.truncate(start);
        }
        result
    }
}

/// The request of an API.
pub trait Request: Message {
    /// The API.
    const API_KEY: ApiKey;
    /// What it is answered with.
    type Response: Message;
}

/// Code that is generic over messages.
pub trait MessageVisitor {
    /// Runs once per message type.
    fn visit<M: Message>(&mut self);
}

/// The key of a record of an internal topic: its type, then the fields of its only version.
pub trait RecordKey: Message {
    /// The number that leads the key and says what the record is.
    const TYPE: i16;

    /// Decodes a whole record key.
    ///
    /// # Errors
    /// When the key is of another type or bad.
    fn decode_key(mut key: Bytes) -> Result<Self, DecodeError> {
        let found = peek_int16(&key)?;
        if found != Self::TYPE {
            return Err(DecodeError::KeyType {
                found,
                expected: Self::TYPE,
            });
        }
        key.advance(2);
        Self::decode(&mut key, *Self::VERSIONS.end())
    }

    /// Encodes a whole record key.
    ///
    /// # Errors
    /// When a length does not fit the wire.
    fn encode_key(&self) -> Result<Bytes, EncodeError> {
        let mut buf = BytesMut::new();
        buf.put_i16(Self::TYPE);
        self.encode(&mut buf, *Self::VERSIONS.end())?;
        Ok(buf.freeze())
    }
}

/// The value of a record of an internal topic: its schema version, then the fields.
pub trait RecordValue: Message {
    /// Decodes a whole record value.
    ///
    /// # Errors
    /// When the version is unknown or the value is bad.
    fn decode_value(mut value: Bytes) -> Result<Self, DecodeError> {
        let version = peek_int16(&value)?;
        value.advance(2);
        Self::decode(&mut value, version)
    }

    /// Encodes a whole record value in this schema version.
    ///
    /// # Errors
    /// As [`Message::encode`].
    fn encode_value(&self, version: i16) -> Result<Bytes, EncodeError> {
        let mut buf = BytesMut::new();
        buf.put_i16(version);
        self.encode(&mut buf, version)?;
        Ok(buf.freeze())
    }
}

/// Data that a client or a control record carries: its version, then the fields. Newer versions only add fields at
/// the end, so that an unknown version is read as the highest known one.
pub trait VersionedData: Message {
    /// Decodes the whole data, with its version.
    ///
    /// # Errors
    /// When the version is lower than the schema's or the data is bad.
    fn decode_data(mut data: Bytes) -> Result<(i16, Self), DecodeError> {
        let version = peek_int16(&data)?;
        data.advance(2);
        Ok((version, Self::decode(&mut data, version.min(*Self::VERSIONS.end()))?))
    }

    /// Encodes the whole data in this version.
    ///
    /// # Errors
    /// As [`Message::encode`].
    fn encode_data(&self, version: i16) -> Result<Bytes, EncodeError> {
        let mut buf = BytesMut::new();
        buf.put_i16(version);
        self.encode(&mut buf, version)?;
        Ok(buf.freeze())
    }
}

/// The type that leads a record key, or the version that leads a value.
///
/// # Errors
/// When there are not two bytes.
pub fn peek_int16(bytes: &[u8]) -> Result<i16, DecodeError> {
    match bytes.first_chunk() {
        Some(head) => Ok(i16::from_be_bytes(*head)),
        None => Err(DecodeError::Truncated {
            at: 0,
            needed: 2,
            left: bytes.len(),
        }),
    }
}
