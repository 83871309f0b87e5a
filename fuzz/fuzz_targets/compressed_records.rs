//! Fuzzes `highwater_broker::records::fuzz_decompress`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| highwater_broker::records::fuzz_decompress(data));
