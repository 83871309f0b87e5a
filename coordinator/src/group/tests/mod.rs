//! The rules of the classic protocol and of committed offsets, each by its number, on the pure machine.

mod expiration;
mod harness;
mod join;
mod leave;
mod loading;
mod offsets;
mod queries;
mod schedules;
mod sync;
