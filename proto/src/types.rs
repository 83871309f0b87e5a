//! Domain types: the units and identities that every crate shares. None of them is a bare integer, so that an
//! offset cannot be passed where an epoch is meant.

use std::fmt;

use uuid::Uuid;

macro_rules! int_newtype {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $int);

        impl $name {
            /// The bare number, for the wire and for files.
            #[must_use]
            pub const fn get(self) -> $int {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$int> for $name {
            fn from(value: $int) -> Self {
                Self(value)
            }
        }
    };
}

int_newtype!(
    /// Position of a record in a partition; the first is 0. Kafka's -1 ("unknown") is spelled `Option::None` inside
    /// and only becomes -1 on the wire.
    Offset(i64)
);
int_newtype!(
    /// Kafka's leader epoch: +1 per election of a partition.
    LeaderEpoch(i32)
);
int_newtype!(
    /// A broker's or coordinator's `node.id`.
    NodeId(i32)
);
int_newtype!(
    /// The metadata revision: the cluster's only logical clock (design section 3).
    Revision(i64)
);
int_newtype!(
    /// Revision of a node's registration (Kafka's broker epoch).
    BrokerEpoch(i64)
);
int_newtype!(
    /// Revision of a partition's key (Kafka's partition epoch).
    PartitionEpoch(i64)
);
int_newtype!(
    /// +1 per assignment of a coordinator shard (Kafka's coordinator epoch).
    CoordinatorEpoch(i32)
);
int_newtype!(
    /// Index of a partition inside its topic, from 0.
    PartitionIndex(i32)
);
int_newtype!(
    /// Idempotent or transactional producer (KIP-98).
    ProducerId(i64)
);
int_newtype!(
    /// Epoch of a producer id (KIP-98).
    ProducerEpoch(i16)
);
int_newtype!(
    /// Milliseconds since 1970-01-01 UTC, as records and group metadata carry it.
    TimestampMs(i64)
);

impl Offset {
    /// The offset `count` records later.
    #[must_use]
    pub const fn plus(self, count: i64) -> Self {
        Self(self.0 + count)
    }
}

/// Identity of a topic: a recreated topic of the same name has another one (KIP-516).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub Uuid);

impl TopicId {
    /// The zero id, which names no topic.
    pub const ZERO: Self = Self(Uuid::nil());

    /// True for the id that names no topic.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0.is_nil()
    }
}

impl fmt::Display for TopicId {
    /// Kafka's text form: URL-safe base64 without padding (22 characters).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use base64::Engine as _;
        f.write_str(&base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(self.0.as_bytes()))
    }
}

/// One partition by identity of its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
}

/// What a coordinator shard looks after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShardKind {
    /// Consumer groups: a partition of `__consumer_offsets`.
    Group,
    /// Transactions: a partition of `__transaction_state`.
    Transaction,
}

impl ShardKind {
    /// Name of the internal topic whose partitions are the shards.
    #[must_use]
    pub const fn topic(self) -> &'static str {
        match self {
            Self::Group => CONSUMER_OFFSETS_TOPIC,
            Self::Transaction => TRANSACTION_STATE_TOPIC,
        }
    }
}

/// One coordinator shard: the partition `index` of `kind.topic()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId {
    /// Groups or transactions.
    pub kind: ShardKind,
    /// The partition of the internal topic.
    pub index: PartitionIndex,
}

/// Topic of consumer-group state.
pub const CONSUMER_OFFSETS_TOPIC: &str = "__consumer_offsets";
/// Topic of transaction state.
pub const TRANSACTION_STATE_TOPIC: &str = "__transaction_state";

/// True for topics that clients may not write (Kafka's `Topic.isInternal`).
#[must_use]
pub fn is_internal_topic(name: &str) -> bool {
    matches!(
        name,
        CONSUMER_OFFSETS_TOPIC | TRANSACTION_STATE_TOPIC | "__share_group_state"
    )
}

/// Longest name of a topic, in bytes.
pub const MAX_TOPIC_NAME_BYTES: usize = 249;

/// True for names that a topic may have (Kafka's `Topic.validate`, rule 102).
#[must_use]
pub fn is_legal_topic_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !matches!(name, "" | "." | "..") && name.len() <= MAX_TOPIC_NAME_BYTES && name.bytes().all(legal)
}
