//! Tests and benchmarks over public surfaces only, and the layering test.
