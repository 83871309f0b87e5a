//! Writes the wire form, in one pass: no lengths are computed beforehand.

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

use super::{Body, ByteStr, EncodeError};

/// A buffer at whose end a message is written, with the version being written.
#[derive(Debug)]
pub struct Writer<'a> {
    buf: &'a mut BytesMut,
    version: i16,
    flexible: bool,
}

impl<'a> Writer<'a> {
    /// Writes at the end of `buf`.
    #[must_use]
    pub fn new(buf: &'a mut BytesMut, version: i16, flexible: bool) -> Self {
        Self { buf, version, flexible }
    }

    /// The version being written.
    #[must_use]
    pub const fn version(&self) -> i16 {
        self.version
    }

    /// The error of a field that is set although the version has none.
    #[cold]
    #[must_use]
    pub fn not_in_version(&self, field: &'static str) -> EncodeError {
        EncodeError::NotInVersion {
            field,
            version: self.version,
        }
    }

    /// The value, or the error of a null that the version does not allow.
    ///
    /// # Errors
    /// When `value` is `None`.
    pub fn some<'v, T>(&self, value: &'v Option<T>, field: &'static str) -> Result<&'v T, EncodeError> {
        value.as_ref().ok_or(EncodeError::Null {
            field,
            version: self.version,
        })
    }

    /// One byte, 0 or 1.
    pub fn bool(&mut self, value: bool) {
        self.buf.put_u8(u8::from(value));
    }

    /// One signed byte.
    pub fn int8(&mut self, value: i8) {
        self.buf.put_i8(value);
    }

    /// Two bytes, big endian.
    pub fn int16(&mut self, value: i16) {
        self.buf.put_i16(value);
    }

    /// Two bytes, big endian, unsigned.
    pub fn uint16(&mut self, value: u16) {
        self.buf.put_u16(value);
    }

    /// Four bytes, big endian.
    pub fn int32(&mut self, value: i32) {
        self.buf.put_i32(value);
    }

    /// Eight bytes, big endian.
    pub fn int64(&mut self, value: i64) {
        self.buf.put_i64(value);
    }

    /// Eight bytes, IEEE 754, big endian.
    pub fn float64(&mut self, value: f64) {
        self.buf.put_f64(value);
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self, value: Uuid) {
        self.buf.put_slice(value.as_bytes());
    }

    /// An unsigned integer of 7 bits per byte, least significant first.
    pub fn unsigned_varint(&mut self, value: u32) {
        let (bytes, length) = varint(value);
        self.buf.put_slice(&bytes[..length]);
    }

    /// A length or count, `None` for null: compact in flexible versions, else by `plain`.
    fn length(
        &mut self,
        length: Option<usize>,
        limit: usize,
        plain: fn(&mut BytesMut, i32),
    ) -> Result<(), EncodeError> {
        let value = match length {
            Some(length) if length > limit => return Err(EncodeError::TooLong { length }),
            Some(length) => length as i32,
            None => -1,
        };
        if self.flexible {
            self.unsigned_varint((value + 1) as u32);
        } else {
            plain(self.buf, value);
        }
        Ok(())
    }

    /// A string or null.
    ///
    /// # Errors
    /// When it is longer than 32,767 bytes.
    pub fn nullable_string(&mut self, value: Option<&ByteStr>) -> Result<(), EncodeError> {
        self.length(value.map(|text| text.len()), i16::MAX as usize, |buf, length| {
            buf.put_i16(length as i16);
        })?;
        self.buf.put_slice(value.map_or(b"", |text| text.as_bytes()));
        Ok(())
    }

    /// A string or null in the form of versions that are not flexible, whatever the version.
    ///
    /// # Errors
    /// When it is longer than 32,767 bytes.
    pub fn plain_nullable_string(&mut self, value: Option<&ByteStr>) -> Result<(), EncodeError> {
        let flexible = std::mem::replace(&mut self.flexible, false);
        let result = self.nullable_string(value);
        self.flexible = flexible;
        result
    }

    /// A string.
    ///
    /// # Errors
    /// When it is longer than 32,767 bytes.
    pub fn string(&mut self, value: &ByteStr) -> Result<(), EncodeError> {
        self.nullable_string(Some(value))
    }

    /// The length of bytes or record batches that the caller puts behind it, by whatever way.
    ///
    /// # Errors
    /// When they are longer than 2 GiB.
    pub fn bytes_length(&mut self, length: usize) -> Result<(), EncodeError> {
        self.length(Some(length), i32::MAX as usize - 1, |buf, length| buf.put_i32(length))
    }

    /// The count of an array whose elements the caller writes one by one.
    ///
    /// # Errors
    /// When it is larger than 2^31.
    pub fn array_length(&mut self, count: usize) -> Result<(), EncodeError> {
        self.bytes_length(count)
    }

    /// Bytes, or a run of record batches, or null.
    ///
    /// # Errors
    /// When they are longer than 2 GiB.
    pub fn nullable_bytes(&mut self, value: Option<&Bytes>) -> Result<(), EncodeError> {
        self.length(value.map(Bytes::len), i32::MAX as usize - 1, |buf, length| {
            buf.put_i32(length);
        })?;
        self.buf.put_slice(value.map_or(b"", |bytes| bytes));
        Ok(())
    }

    /// Bytes, or a run of record batches.
    ///
    /// # Errors
    /// When they are longer than 2 GiB.
    pub fn bytes(&mut self, value: &Bytes) -> Result<(), EncodeError> {
        self.nullable_bytes(Some(value))
    }

    /// An array or null.
    ///
    /// # Errors
    /// When it has more than 2^31 elements or one of them cannot be written.
    pub fn nullable_array<T>(
        &mut self,
        value: Option<&[T]>,
        write: impl Fn(&mut Self, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.length(value.map(<[T]>::len), i32::MAX as usize - 1, |buf, length| {
            buf.put_i32(length);
        })?;
        for element in value.unwrap_or_default() {
            write(self, element)?;
        }
        Ok(())
    }

    /// An array.
    ///
    /// # Errors
    /// As [`nullable_array`](Self::nullable_array).
    pub fn array<T>(
        &mut self,
        value: &[T],
        write: impl Fn(&mut Self, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.nullable_array(Some(value), write)
    }

    /// A struct or null: one byte, then the struct.
    ///
    /// # Errors
    /// When the struct cannot be written.
    pub fn nullable_struct<T: Body>(&mut self, value: Option<&T>) -> Result<(), EncodeError> {
        self.int8(if value.is_some() { 1 } else { -1 });
        value.map_or(Ok(()), |value| value.write(self))
    }

    /// A struct or null in a tagged field: 0 for null, 1, then the struct.
    ///
    /// # Errors
    /// When the struct cannot be written.
    pub fn tagged_nullable_struct<T: Body>(&mut self, value: Option<&T>) -> Result<(), EncodeError> {
        self.int8(value.is_some().into());
        value.map_or(Ok(()), |value| value.write(self))
    }

    /// The tagged fields at the end of a struct; nothing in versions that are not flexible. `known` lists the numbers
    /// of this version in ascending order with whether the field is set; `write` writes the field of that number.
    ///
    /// # Errors
    /// When an unknown field is out of order or has a known number, or a field cannot be written.
    pub fn tagged_fields(
        &mut self,
        unknown: &[(u32, Bytes)],
        known: &[(u32, bool)],
        write: &mut dyn FnMut(&mut Self, u32) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        if !self.flexible {
            return match unknown.first() {
                None => Ok(()),
                Some(_) => Err(self.not_in_version("unknown_tagged_fields")),
            };
        }
        let set = known.iter().filter(|(_, set)| *set).count();
        self.unsigned_varint((set + unknown.len()) as u32);
        let mut unknown = unknown.iter().peekable();
        let mut lowest = 0;
        for (tag, set) in known {
            while let Some((raw, content)) = unknown.next_if(|(raw, _)| raw < tag) {
                lowest = self.raw_tagged_field(*raw, content, lowest)?;
            }
            if unknown.peek().is_some_and(|(raw, _)| raw == tag) {
                return Err(EncodeError::Tag { tag: *tag });
            }
            lowest = u64::from(*tag) + 1;
            if *set {
                self.unsigned_varint(*tag);
                self.sized(|w| write(w, *tag))?;
            }
        }
        for (raw, content) in unknown {
            lowest = self.raw_tagged_field(*raw, content, lowest)?;
        }
        Ok(())
    }

    fn raw_tagged_field(&mut self, tag: u32, content: &Bytes, lowest: u64) -> Result<u64, EncodeError> {
        if u64::from(tag) < lowest {
            return Err(EncodeError::Tag { tag });
        }
        let length = u32::try_from(content.len()).map_err(|_| EncodeError::TooLong { length: content.len() })?;
        self.unsigned_varint(tag);
        self.unsigned_varint(length);
        self.buf.put_slice(content);
        Ok(u64::from(tag) + 1)
    }

    /// Writes something after its length: room for one byte is left, and the content moves up when it is 128 bytes
    /// or longer, which is rare.
    fn sized(&mut self, write: impl FnOnce(&mut Self) -> Result<(), EncodeError>) -> Result<(), EncodeError> {
        let start = self.buf.len();
        self.buf.put_u8(0);
        write(self)?;
        let length = self.buf.len() - start - 1;
        let size = u32::try_from(length).map_err(|_| EncodeError::TooLong { length })?;
        let (bytes, prefix) = varint(size);
        self.buf.put_slice(&bytes[1..prefix]);
        self.buf.copy_within(start + 1..start + 1 + length, start + prefix);
        self.buf[start..start + prefix].copy_from_slice(&bytes[..prefix]);
        Ok(())
    }
}

fn varint(mut value: u32) -> ([u8; 5], usize) {
    let mut bytes = [0; 5];
    let mut length = 0;
    loop {
        bytes[length] = (value & 0x7f) as u8;
        value >>= 7;
        length += 1;
        if value == 0 {
            return (bytes, length);
        }
        bytes[length - 1] |= 0x80;
    }
}
