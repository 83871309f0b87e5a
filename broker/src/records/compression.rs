//! Compresses and decompresses records sections with Kafka's codecs. Output is bounded by the caller: a few bytes of
//! compressed input may stand for gigabytes.

use std::io::Read;

use bytes::Bytes;
use highwater_proto::record::Compression;
use thiserror::Error;

use crate::records::snappy;

/// Codec and level that a topic wants its batches in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressionTarget {
    /// The codec; [`Compression::None`] for `compression.type=uncompressed`.
    pub codec: Compression,
    /// `compression.gzip.level` (-1 for zlib's own default, 1 to 9) or `compression.zstd.level` (-131072 to 22). The
    /// other codecs have no levels: LZ4's default, 9, stands for its fast compressor.
    pub level: i32,
}

/// Why a records section could not be decompressed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecompressError {
    /// It is larger than the caller takes.
    #[error("the records are larger than {limit} bytes when decompressed")]
    TooLarge {
        /// The bound, in bytes.
        limit: usize,
    },
    /// It is not what the codec writes.
    #[error("the records are no valid {codec} stream: {reason}")]
    Malformed {
        /// The codec that the batch names.
        codec: Compression,
        /// What the decoder says.
        reason: String,
    },
}

/// Why a records section could not be compressed: a level out of range, or no memory inside the codec.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the records could not be compressed with {codec}: {reason}")]
pub struct CompressError {
    /// The codec that was asked for.
    pub codec: Compression,
    /// What the encoder says.
    pub reason: String,
}

/// Decompresses a whole records section of at most `limit` bytes. Memory is bounded by the limit too: output grows
/// as it is produced, whatever a header in the stream announces. An uncompressed section is returned as it is.
///
/// # Errors
/// [`DecompressError`] if the output would exceed the limit or the input is damaged.
pub fn decompress(codec: Compression, section: &Bytes, limit: usize) -> Result<Bytes, DecompressError> {
    let output = match codec {
        Compression::None if section.len() > limit => return Err(DecompressError::TooLarge { limit }),
        Compression::None => return Ok(section.clone()),
        Compression::Gzip => read_bounded(
            codec,
            flate2::bufread::MultiGzDecoder::new(&section[..]),
            section,
            limit,
        )?,
        Compression::Lz4 => decompress_lz4(section, limit)?,
        Compression::Snappy => snappy::decompress(section, limit)?,
        Compression::Zstd => decompress_zstd(section, limit)?,
    };
    Ok(output.into())
}

/// Compresses a whole records section.
///
/// # Errors
/// [`CompressError`] if the codec refuses the level.
pub fn compress(target: CompressionTarget, section: &Bytes) -> Result<Bytes, CompressError> {
    let failed = |reason: &dyn std::fmt::Display| CompressError {
        codec: target.codec,
        reason: reason.to_string(),
    };
    let output = match target.codec {
        Compression::None => return Ok(section.clone()),
        Compression::Gzip => compress_gzip(section, target.level).map_err(|e| failed(&e))?,
        Compression::Lz4 => compress_lz4(section).map_err(|e| failed(&e))?,
        Compression::Snappy => snappy::compress(section).map_err(|e| failed(&e))?,
        Compression::Zstd => zstd::bulk::compress(section, target.level).map_err(|e| failed(&e))?,
    };
    Ok(output.into())
}

pub(super) fn malformed(codec: Compression, reason: &dyn std::fmt::Display) -> DecompressError {
    DecompressError::Malformed {
        codec,
        reason: reason.to_string(),
    }
}

/// Room for output at first: most batches shrink by less than this factor.
fn first_capacity(section: &[u8], limit: usize) -> usize {
    section.len().saturating_mul(4).clamp(1024, 1 << 20).min(limit)
}

/// Reads to the end, growing the buffer by doubling but never beyond the limit (and one byte, which tells that there
/// is more).
fn read_bounded(
    codec: Compression,
    mut reader: impl Read,
    section: &[u8],
    limit: usize,
) -> Result<Vec<u8>, DecompressError> {
    let mut output = Vec::with_capacity(first_capacity(section, limit));
    loop {
        let spare = output.capacity() - output.len();
        let read = reader
            .by_ref()
            .take(spare as u64)
            .read_to_end(&mut output)
            .map_err(|e| malformed(codec, &e))?;
        if output.len() > limit {
            return Err(DecompressError::TooLarge { limit });
        }
        if read < spare {
            return Ok(output);
        }
        output.reserve_exact(output.len().max(1024).min(limit + 1 - output.len()));
    }
}

fn decompress_lz4(section: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
    // The decoder takes a frame header that is cut short for the end of the stream.
    if section.len() < MIN_LZ4_FRAME {
        return Err(malformed(Compression::Lz4, &"the frame header is cut short"));
    }
    read_bounded(
        Compression::Lz4,
        lz4_flex::frame::FrameDecoder::new(section),
        section,
        limit,
    )
}

/// Magic, flags, block size and header checksum.
const MIN_LZ4_FRAME: usize = 7;

/// Decompresses in one call per attempt, so that the output buffer is also the window: a streaming decoder would
/// reserve what the frame header claims, up to 128 MiB.
fn decompress_zstd(section: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
    let failed = |e: std::io::Error| malformed(Compression::Zstd, &e);
    let mut decoder = zstd::bulk::Decompressor::new().map_err(failed)?;
    let mut capacity = first_capacity(section, limit);
    loop {
        let mut output = Vec::with_capacity(capacity);
        match decoder.decompress_to_buffer(section, &mut output) {
            Ok(_) => return Ok(output),
            Err(error) if error.to_string() != ZSTD_OUTPUT_FULL => return Err(failed(error)),
            Err(_) if capacity >= limit => return Err(DecompressError::TooLarge { limit }),
            Err(_) => capacity = capacity.saturating_mul(4).min(limit),
        }
    }
}

/// Text of the library's `dstSize_tooSmall`; the binding hands out no codes.
const ZSTD_OUTPUT_FULL: &str = "Destination buffer is too small";

fn compress_gzip(section: &[u8], level: i32) -> std::io::Result<Vec<u8>> {
    let level = u32::try_from(level).map_or(flate2::Compression::default(), flate2::Compression::new);
    let mut output = Vec::with_capacity(section.len() / 2);
    flate2::bufread::GzEncoder::new(section, level).read_to_end(&mut output)?;
    Ok(output)
}

/// Kafka's clients read frames of independent blocks only.
fn compress_lz4(section: &[u8]) -> Result<Vec<u8>, lz4_flex::frame::Error> {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    let info = FrameInfo::new()
        .block_mode(BlockMode::Independent)
        .block_size(BlockSize::Max64KB)
        .block_checksums(false)
        .content_checksum(false);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::with_capacity(section.len() / 2));
    std::io::Write::write_all(&mut encoder, section)?;
    encoder.finish()
}
