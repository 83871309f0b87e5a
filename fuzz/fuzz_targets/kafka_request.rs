//! Fuzzes `highwater_proto::kafka::fuzz::request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| highwater_proto::kafka::fuzz::request(data));
