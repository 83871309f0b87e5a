//! A committed offset that was acknowledged never goes back, and what a read has seen never disappears, whoever owns
//! the shard and whoever is asked.

/// Its name.
pub const NAME: &str = "acknowledged-commits-stay";
