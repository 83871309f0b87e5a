//! One shard: the groups of one partition of `__consumer_offsets`, and the rules by which its log is taken over, written
//! and answered from (design section 6). Pure: inputs are requests, answers of the partition leader, assignments and
//! time; outputs are [`Action`]s. Nothing here waits; a shell carries actions out and brings back what came of them.
//!
//! - `take_over`: open at the leader, wait for the high watermark, replay, serve; again whenever in doubt.
//! - `write_behind`: records of many inputs go into one append, one append is in flight.
//! - `replies`: a reply leaves when all that it was computed from is durable and the leader has confirmed, after the
//!   request came in, that this owner still is one.

mod action;
mod load;
mod machine;
mod replies;
mod take_over;
mod write_behind;

pub use action::{Action, Assignment, Chunk, Failure, Opened, Outcome};
pub use load::LoadError;
pub use machine::{Shard, ShardConfig, ShardState};

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
