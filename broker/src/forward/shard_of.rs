//! Which shard a group or transactional id belongs to: the partition of the internal topic, by Java's string hash, so
//! that Kafka's own tools and records agree with ours.

use highwater_proto::types::{PartitionIndex, ShardId, ShardKind};

/// The shard of `key` (group id or transactional id) when the internal topic has `partition_count` partitions; `None`
/// when it has none.
#[must_use]
pub fn shard_of(kind: ShardKind, key: &str, partition_count: usize) -> Option<ShardId> {
    let count = i32::try_from(partition_count).ok().filter(|count| *count > 0)?;
    // The real absolute value, with 0 for the one number that has none (Kafka's Utils.abs, not Utils.toPositive).
    let positive = java_string_hash(key).checked_abs().unwrap_or(0);
    Some(ShardId {
        kind,
        index: PartitionIndex(positive % count),
    })
}

/// `String.hashCode`: over UTF-16 code units.
fn java_string_hash(text: &str) -> i32 {
    text.encode_utf16()
        .fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(group: &str) -> i32 {
        shard_of(ShardKind::Group, group, 50).unwrap().index.get()
    }

    #[test]
    fn groups_land_where_apache_kafka_puts_them() {
        assert_eq!(partition("orders"), 31);
        assert_eq!(partition("my-group"), 12);
        assert_eq!(partition("test"), 48);
        assert_eq!(partition(""), 0);
    }

    #[test]
    fn the_hash_without_an_absolute_value_is_partition_zero() {
        let key = "polygenelubricants";
        assert_eq!(java_string_hash(key), i32::MIN);
        assert_eq!(partition(key), 0);
    }

    #[test]
    fn characters_outside_the_basic_plane_count_as_two_units() {
        assert_eq!(java_string_hash("\u{1F600}"), 31 * 0xD83D + 0xDE00);
    }

    #[test]
    fn a_topic_without_partitions_has_no_shards() {
        assert_eq!(shard_of(ShardKind::Group, "g", 0), None);
    }
}
