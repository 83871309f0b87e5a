//! Batches as values, and the walk over a buffer of batches.

use bytes::{BufMut, Bytes, BytesMut};

use crate::record::crc::crc32c_joined;
use crate::record::header::{BATCH_OVERHEAD, BatchHeader, CRC_START, Compression, HeaderError, LENGTH_OVERHEAD};
use crate::record::records::{RecordError, RecordIter};

/// One whole batch: its header, which may be changed, and its records section, which shares the buffer it came in.
///
/// The bytes of the batch are `header.to_bytes()` followed by `records`; a writer sends both without joining them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The header. `batch_length` fits `records`.
    pub header: BatchHeader,
    /// Everything behind the header, compressed as the header says.
    pub records: Bytes,
}

impl Batch {
    /// Takes the batch at the start of `bytes`, without a copy. Bytes behind it are not looked at.
    ///
    /// # Errors
    /// [`HeaderError`] if there is no whole batch.
    pub fn parse(bytes: &Bytes) -> Result<Self, HeaderError> {
        let header = BatchHeader::parse(bytes)?;
        if bytes.len() < header.size() {
            return Err(HeaderError::Truncated {
                have: bytes.len(),
                need: header.size(),
            });
        }
        Ok(Self {
            header,
            records: bytes.slice(BATCH_OVERHEAD..header.size()),
        })
    }

    /// A batch of this header and these records, whose length and checksum are set here.
    #[must_use]
    pub fn seal(mut header: BatchHeader, records: Bytes) -> Self {
        header.batch_length = (BATCH_OVERHEAD - LENGTH_OVERHEAD + records.len()) as i32;
        let mut batch = Self { header, records };
        batch.header.crc = batch.compute_crc();
        batch
    }

    /// The checksum that the batch should have. Reads all bytes once.
    #[must_use]
    pub fn compute_crc(&self) -> u32 {
        crc32c_joined(&self.header.to_bytes()[CRC_START..], &self.records)
    }

    /// Bytes of header and records.
    #[must_use]
    pub fn size(&self) -> usize {
        self.header.size()
    }

    /// True if the checksum in the header is that of the batch. Reads all bytes once.
    #[must_use]
    pub fn verify_crc(&self) -> bool {
        self.compute_crc() == self.header.crc
    }

    /// Appends the batch to `buf`.
    pub fn put(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.header.to_bytes());
        buf.put_slice(&self.records);
    }

    /// The batch as one buffer: a copy.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut buf = BytesMut::with_capacity(self.size());
        self.put(&mut buf);
        buf.freeze()
    }

    /// The records of an uncompressed batch.
    ///
    /// # Errors
    /// [`RecordError::Compressed`] if they have to be decompressed first (and then read by [`RecordIter::new`]).
    pub fn iter(&self) -> Result<RecordIter<'_>, RecordError> {
        match self.header.compression() {
            Some(Compression::None) => Ok(RecordIter::new(&self.header, &self.records)),
            _ => Err(RecordError::Compressed),
        }
    }
}

/// Walks over the batches of a buffer without copying. Stops before a batch that is cut short ([`Batches::rest`]
/// is then what is left of it); ends after the first error.
#[derive(Clone, Debug)]
pub struct Batches {
    rest: Bytes,
    failed: bool,
}

impl Batches {
    /// The batches of `bytes`, which starts with one.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self {
            rest: bytes,
            failed: false,
        }
    }

    /// What has not been read yet: empty when the buffer ended with a whole batch.
    #[must_use]
    pub fn rest(&self) -> &Bytes {
        &self.rest
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, HeaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match Batch::parse(&self.rest) {
            Ok(batch) => {
                self.rest = self.rest.slice(batch.size()..);
                Some(Ok(batch))
            }
            Err(HeaderError::Truncated { .. }) => None,
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}
