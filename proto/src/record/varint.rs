//! Zigzag variable-length integers, as records use them (Protocol Buffers' `sint32` and `sint64`).

use bytes::BufMut;

/// Reads a zigzag varint of 32 bits and moves `buf` past it. None if the bytes end inside it or it has more than 5.
#[must_use]
pub fn read_varint(buf: &mut &[u8]) -> Option<i32> {
    // Lengths are nearly always one byte.
    let (&first, rest) = buf.split_first()?;
    if first < 0x80 {
        *buf = rest;
        return Some(unzigzag32(u32::from(first)));
    }
    let mut value = u32::from(first & 0x7f);
    for (i, &byte) in rest.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * (i + 1));
        if byte < 0x80 {
            *buf = &rest[i + 1..];
            return Some(unzigzag32(value));
        }
    }
    None
}

/// Reads a zigzag varint of 64 bits and moves `buf` past it. None if the bytes end inside it or it has more than 10.
#[must_use]
pub fn read_varlong(buf: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for (i, &byte) in buf.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            *buf = &buf[i + 1..];
            return Some(unzigzag64(value));
        }
    }
    None
}

/// Appends a zigzag varint of 32 bits.
pub fn put_varint(buf: &mut impl BufMut, value: i32) {
    let mut value = zigzag32(value);
    while value >= 0x80 {
        buf.put_u8((value as u8) | 0x80);
        value >>= 7;
    }
    buf.put_u8(value as u8);
}

/// Appends a zigzag varint of 64 bits.
pub fn put_varlong(buf: &mut impl BufMut, value: i64) {
    let mut value = zigzag64(value);
    while value >= 0x80 {
        buf.put_u8((value as u8) | 0x80);
        value >>= 7;
    }
    buf.put_u8(value as u8);
}

/// Bytes that [`put_varint`] writes for `value`: 1 to 5.
#[must_use]
pub const fn varint_size(value: i32) -> usize {
    (38 - zigzag32(value).leading_zeros() as usize) / 7 + (zigzag32(value) == 0) as usize
}

/// Bytes that [`put_varlong`] writes for `value`: 1 to 10.
#[must_use]
pub const fn varlong_size(value: i64) -> usize {
    (70 - zigzag64(value).leading_zeros() as usize) / 7 + (zigzag64(value) == 0) as usize
}

const fn zigzag32(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)) as u32
}

const fn zigzag64(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

const fn unzigzag32(value: u32) -> i32 {
    ((value >> 1) as i32) ^ -((value & 1) as i32)
}

const fn unzigzag64(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}
