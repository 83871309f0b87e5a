//! What can be wrong with bytes to decode or with a message to encode.

/// Why bytes could not be decoded. `at` counts bytes from where the decoder started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end before the message does.
    #[error("needed {needed} bytes at byte {at}, but only {left} are left")]
    Truncated {
        /// Where the missing item starts.
        at: usize,
        /// How many bytes it needs.
        needed: usize,
        /// How many there are.
        left: usize,
    },
    /// A length or count that the bytes that are left cannot hold, or that the type does not allow.
    #[error("length {length} at byte {at} is too large, {left} bytes are left")]
    Length {
        /// Where the content would start.
        at: usize,
        /// The length or count on the wire.
        length: u64,
        /// How many bytes follow it.
        left: usize,
    },
    /// A null where the version does not allow one.
    #[error("null at byte {at}, where this version allows none")]
    Null {
        /// Just behind the null.
        at: usize,
    },
    /// A string that is not UTF-8.
    #[error("the string at byte {at} is not valid utf-8")]
    Utf8 {
        /// Where the string starts.
        at: usize,
    },
    /// A variable-length integer of more than 32 bits.
    #[error("the variable-length integer at byte {at} has more than 32 bits")]
    Varint {
        /// Where the integer starts.
        at: usize,
    },
    /// A tagged field that is out of order, doubled, not of this version, or not of the size that it states.
    #[error("tagged field {tag} before byte {at} is out of order, not of this version, or of another size than stated")]
    Tag {
        /// Behind the field, or where the fault was seen.
        at: usize,
        /// Its number.
        tag: u32,
    },
    /// The decoded form would need far more memory than the bytes: no real client sends such a message.
    #[error("the message has more elements than a frame of {frame} bytes may")]
    TooManyElements {
        /// Length of what was to be decoded.
        frame: usize,
    },
    /// A version outside of what the schema has.
    #[error("{message} has no version {version}")]
    UnsupportedVersion {
        /// Name of the message.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// An API key that is not in the schema.
    #[error("there is no api with key {key}")]
    UnknownApi {
        /// The key on the wire.
        key: i16,
    },
    /// A record key of an internal topic with a type that is not the expected one.
    #[error("a record key of type {found}, expected type {expected}")]
    KeyType {
        /// The type on the wire.
        found: i16,
        /// The type that was to be decoded.
        expected: i16,
    },
}

/// Why a message could not be encoded. Nothing has been written then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A field has another value than its default, and the version has no such field.
    #[error("{field} is set, but version {version} has no such field")]
    NotInVersion {
        /// Name of the field.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A field is null where the version does not allow one.
    #[error("{field} is null, which version {version} does not allow")]
    Null {
        /// Name of the field.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A string, bytes or array is longer than its length field can say.
    #[error("a value of {length} bytes or elements is too long for the wire")]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// The unknown tagged fields are not in ascending order, or one has the number of a known one.
    #[error("unknown tagged field {tag} is out of order, doubled or known")]
    Tag {
        /// Its number.
        tag: u32,
    },
    /// A version outside of what the schema has.
    #[error("{message} has no version {version}")]
    UnsupportedVersion {
        /// Name of the message.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
}
