//! The binary `highwater`: composition only.

fn main() {}
