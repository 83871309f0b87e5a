//! Reads the wire form. Everything that generated `read` functions do to untrusted bytes is here.

use bytes::Bytes;
use uuid::Uuid;

use super::{Body, ByteStr, DecodeError};

/// Unknown tagged fields of one struct, as they came: number and content.
pub type TaggedFields = Vec<(u32, Bytes)>;

/// What the decoded arrays of a frame may take in memory: so much whatever its length, so many bytes per byte of it,
/// and never more than the last. Real requests stay far below, as their names are longer than a few bytes.
const BUDGET_BASE: usize = 4 << 20;
const BUDGET_PER_BYTE: usize = 8;
const BUDGET_LIMIT: usize = 256 << 20;
/// Elements reserved at once; longer arrays grow with what has really been read.
const RESERVE_LIMIT: usize = 1024;
/// Longest string, as in Kafka.
const STRING_LIMIT: usize = i16::MAX as usize;

/// A position in a frame, with the version being read.
#[derive(Debug)]
pub struct Reader<'a> {
    frame: &'a Bytes,
    rest: &'a [u8],
    version: i16,
    flexible: bool,
    budget: usize,
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident -> $int:ty) => {
        $(#[$doc])*
        /// # Errors
        /// When the frame ends before it.
        #[inline]
        pub fn $name(&mut self) -> Result<$int, DecodeError> {
            self.take().map(<$int>::from_be_bytes)
        }
    };
}

impl<'a> Reader<'a> {
    /// Starts at the beginning of `frame`.
    #[must_use]
    pub fn new(frame: &'a Bytes, version: i16, flexible: bool) -> Self {
        let budget = frame
            .len()
            .saturating_mul(BUDGET_PER_BYTE)
            .saturating_add(BUDGET_BASE)
            .min(BUDGET_LIMIT);
        Self {
            frame,
            rest: frame,
            version,
            flexible,
            budget,
        }
    }

    /// The version being read.
    #[must_use]
    pub const fn version(&self) -> i16 {
        self.version
    }

    /// How many bytes have been read.
    #[must_use]
    pub fn position(&self) -> usize {
        self.frame.len() - self.rest.len()
    }

    #[inline]
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.truncated(N));
        };
        self.rest = rest;
        Ok(*head)
    }

    #[cold]
    fn truncated(&self, needed: usize) -> DecodeError {
        DecodeError::Truncated {
            at: self.position(),
            needed,
            left: self.rest.len(),
        }
    }

    #[cold]
    fn bad_length(&self, length: usize) -> DecodeError {
        DecodeError::Length {
            at: self.position(),
            length: length as u64,
            left: self.rest.len(),
        }
    }

    number!(/// One signed byte.
        int8 -> i8);
    number!(/// Two bytes, big endian.
        int16 -> i16);
    number!(/// Two bytes, big endian, unsigned.
        uint16 -> u16);
    number!(/// Four bytes, big endian.
        int32 -> i32);
    number!(/// Eight bytes, big endian.
        int64 -> i64);
    number!(/// Eight bytes, IEEE 754, big endian.
        float64 -> f64);

    /// One byte; everything but 0 is true.
    ///
    /// # Errors
    /// When the frame ends before it.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        self.int8().map(|byte| byte != 0)
    }

    /// Sixteen bytes.
    ///
    /// # Errors
    /// When the frame ends before it.
    #[inline]
    pub fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        self.take().map(Uuid::from_bytes)
    }

    /// An unsigned integer of 7 bits per byte, least significant first, at most 32 bits.
    ///
    /// # Errors
    /// When the frame ends before it or it has more bits.
    #[inline]
    pub fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let start = self.position();
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.take()?;
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::Varint { at: start })
    }

    /// A length in the compact form (0 is null, else length + 1) or in the plain form read by `plain`.
    fn length(&mut self, plain: fn(&mut Self) -> Result<i32, DecodeError>) -> Result<Option<usize>, DecodeError> {
        if self.flexible {
            Ok(self.unsigned_varint()?.checked_sub(1).map(|length| length as usize))
        } else {
            Ok(usize::try_from(plain(self)?).ok())
        }
    }

    fn slice(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        let Some(rest) = self.rest.get(length..) else {
            return Err(self.bad_length(length));
        };
        let start = self.position();
        self.rest = rest;
        Ok(self.frame.slice(start..start + length))
    }

    fn some<T>(&self, value: Option<T>) -> Result<T, DecodeError> {
        value.ok_or_else(|| DecodeError::Null { at: self.position() })
    }

    fn text(&mut self, length: Option<usize>) -> Result<Option<ByteStr>, DecodeError> {
        let Some(length) = length else { return Ok(None) };
        if length > STRING_LIMIT {
            return Err(self.bad_length(length));
        }
        let at = self.position();
        let bytes = self.slice(length)?;
        ByteStr::from_utf8(bytes)
            .map(Some)
            .map_err(|_| DecodeError::Utf8 { at })
    }

    /// A string or null.
    ///
    /// # Errors
    /// When its length is beyond the frame or Kafka's limit, or it is not UTF-8.
    pub fn nullable_string(&mut self) -> Result<Option<ByteStr>, DecodeError> {
        let length = self.length(|r| r.int16().map(i32::from))?;
        self.text(length)
    }

    /// A string or null in the form of versions that are not flexible, whatever the version.
    ///
    /// # Errors
    /// As [`nullable_string`](Self::nullable_string).
    pub fn plain_nullable_string(&mut self) -> Result<Option<ByteStr>, DecodeError> {
        let length = usize::try_from(self.int16()?).ok();
        self.text(length)
    }

    /// A string.
    ///
    /// # Errors
    /// As [`nullable_string`](Self::nullable_string), and when it is null.
    pub fn string(&mut self) -> Result<ByteStr, DecodeError> {
        let value = self.nullable_string()?;
        self.some(value)
    }

    /// Bytes, or a run of record batches, or null: a slice of the frame.
    ///
    /// # Errors
    /// When the length is beyond the frame.
    pub fn nullable_bytes(&mut self) -> Result<Option<Bytes>, DecodeError> {
        let length = self.length(Self::int32)?;
        length.map(|length| self.slice(length)).transpose()
    }

    /// Bytes: a slice of the frame.
    ///
    /// # Errors
    /// As [`nullable_bytes`](Self::nullable_bytes), and when they are null.
    pub fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let value = self.nullable_bytes()?;
        self.some(value)
    }

    /// An array or null. `min` is the least number of bytes that an element takes; a count that the bytes that are
    /// left cannot hold is refused at once. As an element may take far more memory than wire, all arrays of one frame
    /// together may take 4 MiB and eight times the frame's length, but not more than 256 MiB.
    ///
    /// # Errors
    /// When the count is too large, or an element is bad.
    pub fn nullable_array<T>(
        &mut self,
        min: usize,
        read: impl Fn(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = self.length(Self::int32)? else {
            return Ok(None);
        };
        self.admit(count, min, size_of::<T>())?;
        let mut elements = Vec::with_capacity(count.min(RESERVE_LIMIT));
        for _ in 0..count {
            elements.push(read(self)?);
        }
        Ok(Some(elements))
    }

    /// Checks the count of an array against the bytes that are left, and its size in memory against the budget.
    fn admit(&mut self, count: usize, min: usize, size: usize) -> Result<(), DecodeError> {
        if count.saturating_mul(min.max(1)) > self.rest.len() {
            return Err(self.bad_length(count));
        }
        self.charge(count, size)
    }

    fn charge(&mut self, count: usize, size: usize) -> Result<(), DecodeError> {
        let Some(budget) = self.budget.checked_sub(count.saturating_mul(size)) else {
            return Err(DecodeError::TooManyElements {
                frame: self.frame.len(),
            });
        };
        self.budget = budget;
        Ok(())
    }

    /// An array.
    ///
    /// # Errors
    /// As [`nullable_array`](Self::nullable_array), and when it is null.
    pub fn array<T>(
        &mut self,
        min: usize,
        read: impl Fn(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let value = self.nullable_array(min, read)?;
        self.some(value)
    }

    /// A struct or null: one byte, -1 for null, then the struct.
    ///
    /// # Errors
    /// When the struct is bad.
    pub fn nullable_struct<T: Body>(&mut self) -> Result<Option<T>, DecodeError> {
        if self.int8()? < 0 {
            Ok(None)
        } else {
            T::read(self).map(Some)
        }
    }

    /// A struct or null in a tagged field: 0 for null, 1, then the struct.
    ///
    /// # Errors
    /// When the struct is bad.
    pub fn tagged_nullable_struct<T: Body>(&mut self) -> Result<Option<T>, DecodeError> {
        if self.unsigned_varint()? == 0 {
            Ok(None)
        } else {
            T::read(self).map(Some)
        }
    }

    /// The tagged fields at the end of a struct; none in versions that are not flexible. `known` reads the field of
    /// that number and says whether it knows it. Returns the others.
    ///
    /// # Errors
    /// When the numbers do not ascend, a size is beyond the frame, or `known` does not read as many bytes as stated.
    pub fn tagged_fields(
        &mut self,
        known: &mut dyn FnMut(&mut Self, u32) -> Result<bool, DecodeError>,
    ) -> Result<TaggedFields, DecodeError> {
        let mut unknown = TaggedFields::new();
        if !self.flexible {
            return Ok(unknown);
        }
        let mut lowest = 0;
        for _ in 0..self.unsigned_varint()? {
            let tag = self.unsigned_varint()?;
            let size = self.unsigned_varint()? as usize;
            let start = self.position();
            if u64::from(tag) < lowest {
                return Err(DecodeError::Tag { at: start, tag });
            }
            lowest = u64::from(tag) + 1;
            if size > self.rest.len() {
                return Err(self.bad_length(size));
            }
            if !known(self, tag)? {
                self.charge(1, size_of::<(u32, Bytes)>())?;
                unknown.push((tag, self.slice(size)?));
            } else if self.position() != start + size {
                return Err(DecodeError::Tag {
                    at: self.position(),
                    tag,
                });
            }
        }
        Ok(unknown)
    }

    /// The error of a known tag in a version that does not have it.
    ///
    /// # Errors
    /// Always.
    #[cold]
    pub fn tag_not_in_version(&self, tag: u32) -> Result<bool, DecodeError> {
        Err(DecodeError::Tag {
            at: self.position(),
            tag,
        })
    }
}
