//! Snappy as Kafka's clients frame it: either one raw block, or the stream of snappy-java ("xerial"): a header of 16
//! bytes, then blocks with a big-endian length in front.

use highwater_proto::record::Compression;

use crate::records::compression::{DecompressError, malformed};

/// `\x82SNAPPY\0`, version 1, compatible with version 1.
const HEADER: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
/// The part of the header that tells a stream from a raw block.
const MAGIC: &[u8] = &[0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Uncompressed bytes of a block, as snappy-java cuts them.
const BLOCK: usize = 32 * 1024;
/// No element of a snappy block stands for more: a copy of 64 bytes takes 3.
const MAX_RATIO: usize = 22;

pub(super) fn decompress(section: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
    let mut output = Vec::new();
    if !section.starts_with(MAGIC) {
        append_block(section, &mut output, limit)?;
        return Ok(output);
    }
    let cut = || malformed(Compression::Snappy, &"a block is cut short");
    let mut rest = section;
    while !rest.is_empty() {
        // Streams may be joined: a header is allowed wherever a block is.
        if rest.starts_with(MAGIC) {
            rest = rest.get(HEADER.len()..).ok_or_else(cut)?;
            continue;
        }
        let (len, blocks) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let len = usize::try_from(i32::from_be_bytes(*len)).map_err(|_| cut())?;
        let (block, next) = blocks.split_at_checked(len).ok_or_else(cut)?;
        append_block(block, &mut output, limit)?;
        rest = next;
    }
    Ok(output)
}

fn append_block(block: &[u8], output: &mut Vec<u8>, limit: usize) -> Result<(), DecompressError> {
    let failed = |e: snap::Error| malformed(Compression::Snappy, &e);
    let len = snap::raw::decompress_len(block).map_err(failed)?;
    let start = output.len();
    if len > limit - start {
        return Err(DecompressError::TooLarge { limit });
    }
    if len > block.len().saturating_mul(MAX_RATIO) {
        return Err(malformed(
            Compression::Snappy,
            &"a block announces more than it can hold",
        ));
    }
    output.resize(start + len, 0);
    let written = snap::raw::Decoder::new()
        .decompress(block, &mut output[start..])
        .map_err(failed)?;
    output.truncate(start + written);
    Ok(())
}

pub(super) fn compress(section: &[u8]) -> Result<Vec<u8>, snap::Error> {
    let mut encoder = snap::raw::Encoder::new();
    let mut output = Vec::with_capacity(HEADER.len() + section.len() / 2);
    output.extend_from_slice(&HEADER);
    for block in section.chunks(BLOCK) {
        let length_at = output.len();
        let start = length_at + 4;
        output.resize(start + snap::raw::max_compress_len(block.len()), 0);
        let len = encoder.compress(block, &mut output[start..])?;
        output.truncate(start + len);
        output[length_at..start].copy_from_slice(&(len as u32).to_be_bytes());
    }
    Ok(output)
}
