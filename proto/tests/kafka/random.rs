//! Random messages from a seed: the same seed gives the same message.

use bytes::Bytes;
use highwater_proto::kafka::{ByteStr, TaggedFields, messages, records};
use uuid::Uuid;

/// A random value with the fields that version `v` has; the others keep their default.
pub trait Random: Sized {
    fn random(g: &mut Generator, v: i16) -> Self;
}

include!(concat!(env!("OUT_DIR"), "/kafka/random.rs"));
pub(crate) use for_each_api;

/// SplitMix64.
pub struct Generator(u64);

impl Generator {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    /// Numbers near the edges of their type as often as any other.
    fn number(&mut self) -> i64 {
        match self.below(8) {
            0 => 0,
            1 => -1,
            2 => i64::MAX,
            3 => i64::MIN,
            4 => self.below(256) as i64,
            _ => self.next() as i64,
        }
    }

    pub fn bool(&mut self) -> bool {
        self.chance(2)
    }

    pub fn int8(&mut self) -> i8 {
        self.number() as i8
    }

    pub fn int16(&mut self) -> i16 {
        self.number() as i16
    }

    pub fn int32(&mut self) -> i32 {
        self.number() as i32
    }

    pub fn int64(&mut self) -> i64 {
        self.number()
    }

    pub fn float64(&mut self) -> f64 {
        self.number() as f64 / 7.0
    }

    pub fn uuid(&mut self) -> Uuid {
        if self.chance(4) {
            Uuid::nil()
        } else {
            Uuid::from_u64_pair(self.next(), self.next())
        }
    }

    /// Mostly short; sometimes long enough for a length of two bytes.
    fn length(&mut self) -> usize {
        let limit = if self.chance(16) { 300 } else { 6 };
        self.below(limit) as usize
    }

    pub fn string(&mut self) -> ByteStr {
        let length = self.length();
        let text: String = (0..length)
            .map(|_| ['a', 'Z', '0', '-', 'ü', '水'][self.below(6) as usize])
            .collect();
        ByteStr::from(text)
    }

    pub fn bytes(&mut self) -> Bytes {
        let length = self.length();
        (0..length).map(|_| self.next() as u8).collect::<Vec<u8>>().into()
    }

    pub fn vec<T>(&mut self, mut element: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let length = if self.chance(200) { 130 } else { self.below(3) };
        (0..length).map(|_| element(self)).collect()
    }

    /// None mostly; else a few with numbers that no schema has.
    pub fn unknown_tagged_fields(&mut self) -> TaggedFields {
        if !self.chance(4) {
            return TaggedFields::new();
        }
        (0..self.below(3))
            .map(|i| (1_000 * (i as u32 + 1), self.bytes()))
            .collect()
    }
}
