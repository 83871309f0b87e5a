//! Kafka's framing: an int32 length and so many bytes. The announced length is never allocated blindly: the buffer
//! grows with what really arrives.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::net::TcpStream;

/// Bytes of the length in front of a frame.
const LENGTH_BYTES: usize = 4;
/// Frames above this need a share of the process's budget; also the least growth of a buffer.
pub(crate) const FIRST_CHUNK_BYTES: usize = 64 << 10;
/// What is read on behalf of the next frame: enough for most small requests, so that they come in with one system call,
/// and little to move when the buffer has to.
const READ_AHEAD_BYTES: usize = 4 << 10;
/// The same for connections that have sent only small requests: thousands of them send one and then nothing for long.
const SMALL_READ_BYTES: usize = 1 << 10;
/// A connection that has sent frames of this size is trusted with a buffer of that size at once.
const MAX_TYPICAL_BYTES: usize = 2 << 20;

/// A frame that no Kafka client sends: the connection is closed without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Zero has no header, negative has no meaning.
    #[error("frame length {0} is not positive")]
    NotPositive(i32),
    /// Above `socket.request.max.bytes`.
    #[error("frame of {size} bytes is larger than socket.request.max.bytes {max}")]
    TooLarge {
        /// As announced.
        size: usize,
        /// As allowed.
        max: usize,
    },
}

/// Reads frames from a socket into one buffer, which is reused as soon as all frames cut from it are dropped.
#[derive(Debug)]
pub(crate) struct FrameReader {
    buffer: BytesMut,
    max_frame: usize,
    /// Size of the last large frame, including its length.
    typical: usize,
}

impl FrameReader {
    pub(crate) fn new(max_frame: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            max_frame,
            typical: 0,
        }
    }

    /// The next whole frame without its length, if it is there.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(size) = self.announced()? else { return Ok(None) };
        if self.buffer.len() < LENGTH_BYTES + size {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        self.typical = (LENGTH_BYTES + size).min(MAX_TYPICAL_BYTES);
        Ok(Some(self.buffer.split_to(size).freeze()))
    }

    /// Size of the frame in front, once its length has arrived.
    pub(crate) fn announced(&self) -> Result<Option<usize>, FrameError> {
        let Some(length) = self.buffer.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = i32::from_be_bytes(*length);
        match usize::try_from(length) {
            Ok(0) | Err(_) => Err(FrameError::NotPositive(length)),
            Ok(size) if size > self.max_frame => Err(FrameError::TooLarge {
                size,
                max: self.max_frame,
            }),
            Ok(size) => Ok(Some(size)),
        }
    }

    /// True if a whole frame, or one that has to be refused, is here.
    pub(crate) fn is_whole(&self) -> bool {
        match self.announced() {
            Ok(Some(size)) => self.buffer.len() >= LENGTH_BYTES + size,
            Ok(None) => false,
            Err(_) => true,
        }
    }

    /// Bytes of a large frame that will be in memory after the next read: what needs a share of the process's budget.
    /// 0 for small frames.
    pub(crate) fn planned(&self) -> usize {
        match self.announced() {
            Ok(Some(size)) if size > FIRST_CHUNK_BYTES => self.buffer.len() + self.growth(size),
            _ => 0,
        }
    }

    /// How much of a frame of this size to make room for: what the connection is trusted with, else as much again as has
    /// arrived.
    fn growth(&self, size: usize) -> usize {
        let have = self.buffer.len();
        let trusted = self.typical.saturating_sub(have).max(have).max(FIRST_CHUNK_BYTES);
        (LENGTH_BYTES + size).saturating_sub(have).min(trusted)
    }

    /// Reads what the socket has, up to a little behind the frame in front. 0 is the end of the stream.
    pub(crate) fn try_read(&mut self, stream: &TcpStream) -> io::Result<usize> {
        let room = self.make_room();
        stream.try_read_buf(&mut (&mut self.buffer).limit(room))
    }

    fn make_room(&mut self) -> usize {
        let missing = match self.announced() {
            Ok(Some(size)) => self.growth(size),
            // The buffer of the last frame is used again if nothing holds on to it, whatever its size.
            _ => self.typical.min(FIRST_CHUNK_BYTES).saturating_sub(self.buffer.len()),
        };
        let ahead = if self.typical > SMALL_READ_BYTES {
            READ_AHEAD_BYTES
        } else {
            SMALL_READ_BYTES
        };
        let room = missing + ahead;
        self.buffer.reserve(room);
        room
    }

    /// Gives the memory back while the connection is idle.
    pub(crate) fn release(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
            self.typical = 0;
        }
    }

    #[cfg(test)]
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.put_slice(bytes);
    }

    #[cfg(test)]
    pub(crate) fn capacity(&mut self) -> usize {
        self.make_room();
        self.buffer.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &[u8]) -> FrameReader {
        let mut reader = FrameReader::new(100 << 20);
        reader.push(bytes);
        reader
    }

    #[test]
    fn frames_are_cut_whole_and_in_order() {
        let mut reader = reader(&[0, 0, 0, 2, 1, 2, 0, 0, 0, 1, 3, 0, 0, 0, 9, 4]);
        assert_eq!(reader.next(), Ok(Some(Bytes::from_static(&[1, 2]))));
        assert_eq!(reader.next(), Ok(Some(Bytes::from_static(&[3]))));
        assert_eq!(reader.next(), Ok(None));
        assert_eq!(reader.buffer.len(), 5);
    }

    #[test]
    fn lengths_that_no_client_sends_are_refused_before_anything_else() {
        assert_eq!(reader(&[0; 4]).next(), Err(FrameError::NotPositive(0)));
        assert_eq!(reader(&[0xff; 4]).next(), Err(FrameError::NotPositive(-1)));
        let size = 0x7fff_ffff;
        assert_eq!(
            reader(&[0x7f, 0xff, 0xff, 0xff]).next(),
            Err(FrameError::TooLarge { size, max: 100 << 20 })
        );
    }

    #[test]
    fn an_announced_length_does_not_become_memory() {
        let mut reader = reader(&[0x06, 0, 0, 0, 1]);
        assert!(reader.capacity() < 2 * (FIRST_CHUNK_BYTES + READ_AHEAD_BYTES));
        assert!(reader.planned() <= FIRST_CHUNK_BYTES + 5);
        reader.push(&vec![0; 200 << 10]);
        assert!(reader.capacity() < 1 << 20, "growth follows what arrived");
        assert!(reader.planned() <= 2 * ((200 << 10) + 5));
    }

    #[test]
    fn a_connection_that_sends_large_frames_gets_a_buffer_of_that_size() {
        let mut bytes = (300_000_i32).to_be_bytes().to_vec();
        bytes.resize(300_004, 7);
        let mut reader = reader(&bytes);
        drop(reader.next().unwrap().unwrap());
        reader.push(&300_000_i32.to_be_bytes());
        assert!(reader.capacity() >= 300_004);
        assert_eq!(reader.planned(), 300_004);
        reader.buffer.clear();
        reader.release();
        assert_eq!(reader.buffer.capacity(), 0);
    }
}
