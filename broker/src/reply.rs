//! What goes back on a connection: bytes, and ranges of log files that the kernel copies to the socket itself.

use std::fs::File;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use highwater_proto::kafka::{ApiKey, EncodeError, Message, ResponseHeader};

/// Bytes of the length in front of a frame.
const LENGTH_BYTES: usize = 4;
/// Most replies are smaller than this.
const TYPICAL_REPLY_BYTES: usize = 256;

/// A part of a file that is sent as it is. The file stays open until it is sent, even if the log deletes it meanwhile.
#[derive(Clone, Debug)]
pub struct FileRange {
    /// The file.
    pub file: Arc<File>,
    /// First byte.
    pub position: u64,
    /// Number of bytes; more than 0.
    pub length: usize,
}

/// A response frame: its own bytes, with file ranges in between.
#[derive(Debug)]
pub struct Reply {
    /// All bytes but those of the ranges.
    pub(crate) head: BytesMut,
    /// (position in `head` before which the range goes, range), by position.
    pub(crate) files: Vec<(usize, FileRange)>,
}

impl Reply {
    /// Encodes a whole response.
    ///
    /// # Errors
    /// When the response has a value that its version cannot carry: a defect of the handler.
    pub fn encode<R: Message>(
        api: ApiKey,
        version: i16,
        correlation_id: i32,
        response: &R,
    ) -> Result<Self, EncodeError> {
        let mut reply = ReplyWriter::new(api, version, correlation_id)?;
        response.encode(reply.buffer(), version)?;
        Ok(reply.finish())
    }

    /// Bytes on the wire, length included.
    #[must_use]
    pub fn size(&self) -> usize {
        self.head.len() + self.files.iter().map(|(_, range)| range.length).sum::<usize>()
    }
}

/// Builds a [`Reply`] piece by piece.
#[derive(Debug)]
pub struct ReplyWriter {
    head: BytesMut,
    files: Vec<(usize, FileRange)>,
    file_bytes: usize,
}

impl ReplyWriter {
    /// Starts with the response header.
    ///
    /// # Errors
    /// None in practice: the header has no field that depends on its version.
    pub fn new(api: ApiKey, version: i16, correlation_id: i32) -> Result<Self, EncodeError> {
        let mut head = BytesMut::with_capacity(TYPICAL_REPLY_BYTES);
        head.put_bytes(0, LENGTH_BYTES);
        ResponseHeader::write_for(&mut head, api, version, correlation_id)?;
        Ok(Self {
            head,
            files: Vec::new(),
            file_bytes: 0,
        })
    }

    /// Where the body goes.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.head
    }

    /// Puts the bytes of a file here, without reading them.
    pub fn put_file(&mut self, range: FileRange) {
        self.file_bytes += range.length;
        self.files.push((self.head.len(), range));
    }

    /// Closes the frame.
    #[must_use]
    pub fn finish(mut self) -> Reply {
        let size = self.head.len() - LENGTH_BYTES + self.file_bytes;
        // A response of 2 GiB cannot be built: fetches are capped at `fetch.max.bytes`.
        let size = i32::try_from(size).unwrap_or(i32::MAX);
        self.head[..LENGTH_BYTES].copy_from_slice(&size.to_be_bytes());
        Reply {
            head: self.head,
            files: self.files,
        }
    }
}

/// What a request leads to in the end.
#[derive(Debug)]
pub enum Answer {
    /// A response.
    Reply(Reply),
    /// No response at all (`acks=0`).
    Nothing,
    /// The connection is closed, as Kafka does where no response could say what is wrong.
    Close,
}

/// A future of a request that cannot be answered at once.
pub type AnswerFuture = std::pin::Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A request that was dispatched.
pub enum Pending {
    /// Answered.
    Done(Answer),
    /// Answered later. Polled only once all earlier requests of the connection are answered: what must happen in the
    /// order of arrival happens before the future is made.
    Later(AnswerFuture),
    /// Must be done before the next request of the connection is dispatched.
    Parked(std::pin::Pin<Box<dyn Future<Output = Self> + Send>>),
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done(answer) => f.debug_tuple("Done").field(answer).finish(),
            Self::Later(_) => f.write_str("Later"),
            Self::Parked(_) => f.write_str("Parked"),
        }
    }
}
