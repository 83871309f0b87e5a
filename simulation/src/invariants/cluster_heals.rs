//! When nothing goes wrong any more, every partition that lost nothing has a leader, all replicas in its ISR, and all
//! records below the high watermark; nobody waits for ever.

/// Its name.
pub const NAME: &str = "the-cluster-heals";
