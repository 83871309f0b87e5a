//! What a connection still has to write: bytes by vectored writes, file ranges by sendfile.
//!
//! A worker thread never waits for a disk: whether a range is in the page cache is asked first
//! (`preadv2(RWF_NOWAIT)`), and what is not is read, or sent, by a blocking thread, of which few do so at a time.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use rustix::io::ReadWriteFlags;
use rustix::net::SendFlags;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::reply::{FileRange, Reply};

/// Ranges from this size on go from the page cache to the socket inside the kernel; smaller ones are cheaper to copy
/// into the write that carries the bytes around them.
const SENDFILE_BYTES: usize = 64 << 10;
/// One sendfile call: bounds how long a worker stays with one connection.
const MAX_SEND_BYTES: usize = 1 << 20;
/// Distance of the bytes that are probed: the kernel reads ahead in pieces of this size.
const PROBE_STRIDE_BYTES: u64 = 128 << 10;
/// Buffers of one vectored write.
const MAX_BUFFERS: usize = 16;

#[derive(Debug)]
enum Chunk {
    Bytes(Bytes),
    File(FileRange),
}

/// What a blocking thread did for the range in front.
enum Cold {
    Read(Bytes),
    Sent(usize),
}

type ColdJob = std::pin::Pin<Box<dyn Future<Output = io::Result<Cold>> + Send>>;

/// Replies on their way out, in order.
pub(crate) struct Output {
    chunks: VecDeque<Chunk>,
    /// Bytes held in memory: file ranges hold none.
    memory: usize,
    cold: Option<ColdJob>,
    /// Whether the last range that was looked at was on disk only.
    temperature: Option<bool>,
    /// Bounds the blocking threads that read for slow disks.
    cold_reads: Arc<Semaphore>,
}

impl Output {
    pub(crate) fn new(cold_reads: Arc<Semaphore>) -> Self {
        Self {
            chunks: VecDeque::new(),
            memory: 0,
            cold: None,
            temperature: None,
            cold_reads,
        }
    }

    pub(crate) fn push(&mut self, reply: Reply) {
        let Reply { mut head, files } = reply;
        self.memory += head.len();
        let mut cut = 0;
        for (at, range) in files {
            if at > cut {
                self.chunks.push_back(Chunk::Bytes(head.split_to(at - cut).freeze()));
                cut = at;
            }
            self.chunks.push_back(Chunk::File(range));
        }
        if !head.is_empty() {
            self.chunks.push_back(Chunk::Bytes(head.freeze()));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Whether the ranges that were sent since the last call were on disk only; `None` without any.
    pub(crate) fn take_temperature(&mut self) -> Option<bool> {
        self.temperature.take()
    }

    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    /// Gives memory back that an idle connection does not need.
    pub(crate) fn release(&mut self) {
        if self.chunks.is_empty() {
            self.chunks = VecDeque::new();
        }
    }

    /// Writes as much as the socket takes; ready when something was written.
    pub(crate) fn poll_write(&mut self, stream: &Arc<TcpStream>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            if let Some(job) = &mut self.cold {
                let done = ready!(job.as_mut().poll(cx));
                self.cold = None;
                match done? {
                    Cold::Read(bytes) => self.replace_front(bytes),
                    Cold::Sent(0) => {}
                    Cold::Sent(count) => return Poll::Ready(Ok(self.sent_of_file(count))),
                }
            }
            ready!(stream.poll_write_ready(cx))?;
            self.read_small_ranges()?;
            if self.cold.is_some() {
                // The range in front has to come from the disk first; the job was not polled yet.
                continue;
            }
            let outcome = match self.chunks.front() {
                None => return Poll::Ready(Ok(0)),
                Some(Chunk::Bytes(_)) => self.write_bytes(stream),
                Some(Chunk::File(range)) => {
                    let piece = FileRange {
                        length: range.length.min(MAX_SEND_BYTES),
                        ..range.clone()
                    };
                    if !is_cached(&piece) {
                        self.temperature = Some(true);
                        self.cold = Some(self.send_cold(stream, piece));
                        continue;
                    }
                    self.temperature.get_or_insert(false);
                    send_file(stream, &piece).map(|count| self.sent_of_file(count))
                }
            };
            match outcome {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    fn write_bytes(&mut self, stream: &TcpStream) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); MAX_BUFFERS];
        let mut count = 0;
        let mut more = false;
        for chunk in self.chunks.iter().take(MAX_BUFFERS) {
            match chunk {
                Chunk::Bytes(bytes) => slices[count] = IoSlice::new(bytes),
                Chunk::File(_) => {
                    more = true;
                    break;
                }
            }
            count += 1;
        }
        let written = if more && count == 1 {
            // The head of a fetch response should leave in one segment with the data that follows.
            let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
            stream.try_io(Interest::WRITABLE, || Ok(rustix::net::send(stream, &slices[0], flags)?))?
        } else {
            stream.try_write_vectored(&slices[..count])?
        };
        self.sent_of_bytes(written);
        Ok(written)
    }

    fn sent_of_bytes(&mut self, mut count: usize) {
        self.memory -= count;
        while count > 0 {
            let Some(Chunk::Bytes(bytes)) = self.chunks.front_mut() else {
                return;
            };
            let part = count.min(bytes.len());
            bytes.advance(part);
            count -= part;
            if bytes.is_empty() {
                self.chunks.pop_front();
            }
        }
    }

    fn sent_of_file(&mut self, count: usize) -> usize {
        if let Some(Chunk::File(range)) = self.chunks.front_mut() {
            range.position += count as u64;
            range.length -= count.min(range.length);
            if range.length == 0 {
                self.chunks.pop_front();
            }
        }
        count
    }

    fn replace_front(&mut self, bytes: Bytes) {
        self.memory += bytes.len();
        if let Some(front) = self.chunks.front_mut() {
            *front = Chunk::Bytes(bytes);
        }
    }

    /// Turns small ranges among the next buffers into bytes; stops at the first that is large or not in the cache.
    fn read_small_ranges(&mut self) -> io::Result<()> {
        for index in 0..self.chunks.len().min(MAX_BUFFERS) {
            let Some(Chunk::File(range)) = self.chunks.get(index) else {
                continue;
            };
            if range.length >= SENDFILE_BYTES {
                break;
            }
            match read_cached(range)? {
                Some(bytes) => {
                    self.temperature.get_or_insert(false);
                    self.memory += bytes.len();
                    self.chunks[index] = Chunk::Bytes(bytes);
                }
                None if index == 0 => {
                    self.temperature = Some(true);
                    self.cold = Some(self.read_cold(range.clone()));
                    break;
                }
                None => break,
            }
        }
        Ok(())
    }

    fn read_cold(&self, range: FileRange) -> ColdJob {
        self.on_blocking_thread(move || read_all(&range).map(Cold::Read))
    }

    fn send_cold(&self, stream: &Arc<TcpStream>, piece: FileRange) -> ColdJob {
        let stream = Arc::clone(stream);
        self.on_blocking_thread(move || match send_file_now(&stream, &piece) {
            // The socket is full: what was read for it stays in the page cache.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Cold::Sent(0)),
            outcome => outcome.map(Cold::Sent),
        })
    }

    fn on_blocking_thread(&self, work: impl FnOnce() -> io::Result<Cold> + Send + 'static) -> ColdJob {
        let permits = Arc::clone(&self.cold_reads);
        Box::pin(async move {
            let _permit = permits.acquire_owned().await.map_err(io::Error::other)?;
            tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
        })
    }
}

fn send_file(stream: &TcpStream, range: &FileRange) -> io::Result<usize> {
    stream.try_io(Interest::WRITABLE, || send_file_now(stream, range))
}

fn send_file_now(stream: &TcpStream, range: &FileRange) -> io::Result<usize> {
    let mut position = range.position;
    match rustix::fs::sendfile(stream, &*range.file, Some(&mut position), range.length)? {
        // The frame announced these bytes: it cannot be completed any more.
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => Ok(count),
    }
}

/// The range, if all of it is in the page cache.
fn read_cached(range: &FileRange) -> io::Result<Option<Bytes>> {
    let mut buffer = vec![0; range.length];
    let read = rustix::io::preadv2(
        &*range.file,
        &mut [IoSliceMut::new(&mut buffer)],
        range.position,
        ReadWriteFlags::NOWAIT,
    );
    match read {
        Ok(count) if count == range.length => Ok(Some(Bytes::from(buffer))),
        // A file system that cannot tell holds its files in memory, or is read as if it did.
        Err(rustix::io::Errno::OPNOTSUPP) => read_all(range).map(Some),
        Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn read_all(range: &FileRange) -> io::Result<Bytes> {
    use std::os::unix::fs::FileExt;
    let mut buffer = vec![0; range.length];
    range.file.read_exact_at(&mut buffer, range.position)?;
    Ok(Bytes::from(buffer))
}

/// True if the probed bytes of the range are in the page cache.
fn is_cached(range: &FileRange) -> bool {
    let last = range.position + range.length as u64 - 1;
    let mut at = range.position;
    while at < last {
        if !is_byte_cached(&range.file, at) {
            return false;
        }
        at += PROBE_STRIDE_BYTES;
    }
    is_byte_cached(&range.file, last)
}

fn is_byte_cached(file: &File, position: u64) -> bool {
    let mut byte = [0];
    let read = rustix::io::preadv2(
        file,
        &mut [IoSliceMut::new(&mut byte)],
        position,
        ReadWriteFlags::NOWAIT,
    );
    // Any other error shows again, with its cause, when the range is sent.
    !matches!(read, Err(rustix::io::Errno::AGAIN))
}
