//! Replication throttles, as Kafka has them: replicas that a topic names (`leader.replication.throttled.replicas`,
//! `follower.replication.throttled.replicas`) and that are not in sync are copied at no more than a broker's rate. So are
//! replicas that a rebalance or a drain adds, if it was asked for with a limit. Replicas in sync are never held back.

use std::time::Duration;

use highwater_proto::config::StaticValues;
use highwater_proto::metadata::{ConfigResource, MetadataImage, Topic};
use highwater_proto::types::{NodeId, TopicPartition};
use parking_lot::Mutex;

/// What a bucket holds at most: this much of its rate, so that a pause is not made up for by a burst.
const BURST: Duration = Duration::from_secs(1);
/// Shortest and longest time after which somebody who had to wait asks again.
const WAIT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Which end of the copying is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The broker that is copied from.
    Leader,
    /// The broker that copies.
    Follower,
}

impl Side {
    /// The topic config that names replicas.
    const fn replicas(self) -> &'static str {
        match self {
            Self::Leader => "leader.replication.throttled.replicas",
            Self::Follower => "follower.replication.throttled.replicas",
        }
    }

    /// The broker config with the bytes per second.
    const fn rate(self) -> &'static str {
        match self {
            Self::Leader => "leader.replication.throttled.rate",
            Self::Follower => "follower.replication.throttled.rate",
        }
    }
}

/// Bytes that may pass, refilled as time goes by. What passes is known only afterwards, so a bucket may be overdrawn: then
/// nothing passes until that is made up for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenBucket {
    bytes: f64,
    at: Option<Duration>,
}

impl TokenBucket {
    /// How long it takes until something may pass; zero if it may now. `now` is since some fixed moment.
    pub fn wait(&mut self, rate: u64, now: Duration) -> Duration {
        self.refill(rate, now);
        if self.bytes > 0.0 {
            return Duration::ZERO;
        }
        let seconds = (1.0 - self.bytes) / (rate.max(1) as f64);
        Duration::try_from_secs_f64(seconds)
            .unwrap_or(WAIT.1)
            .clamp(WAIT.0, WAIT.1)
    }

    /// Bytes have passed.
    pub fn take(&mut self, bytes: u64) {
        self.bytes -= bytes as f64;
    }

    fn refill(&mut self, rate: u64, now: Duration) {
        let most = rate as f64 * BURST.as_secs_f64();
        let passed = self.at.map_or(BURST, |at| now.saturating_sub(at));
        self.bytes = (self.bytes + rate as f64 * passed.as_secs_f64()).min(most);
        self.at = Some(now);
    }
}

/// The throttles of a broker.
#[derive(Debug)]
pub struct Throttles {
    node: NodeId,
    leader: Mutex<TokenBucket>,
    follower: Mutex<TokenBucket>,
}

impl Throttles {
    /// Of a broker that has copied nothing yet.
    #[must_use]
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            leader: Mutex::default(),
            follower: Mutex::default(),
        }
    }

    fn bucket(&self, side: Side) -> &Mutex<TokenBucket> {
        match side {
            Side::Leader => &self.leader,
            Side::Follower => &self.follower,
        }
    }

    /// How long the copy of a partition for `follower` has to wait; `None` if it is not throttled at all. With `Some`, what
    /// is copied is to be told to [`Self::copied`].
    pub fn wait(
        &self,
        side: Side,
        image: &MetadataImage,
        fixed: &StaticValues,
        key: &TopicPartition,
        follower: NodeId,
        now: Duration,
    ) -> Option<Duration> {
        let topic = image.topic_by_id(key.topic_id)?;
        // Nearly no topic names any, and few moves have a limit.
        let named = topic.configs.get(side.replicas());
        if named.is_none() && !image.rebalance.limits_copies() {
            return None;
        }
        let partition = topic.partition(key.partition)?;
        if partition.isr.contains(&follower) {
            return None;
        }
        let named = named.filter(|named| names(named, topic, key, self.node));
        let named = named.and_then(|_| rate(side, image, fixed, self.node));
        let rate = named.into_iter().chain(image.copy_limit(partition, follower)).min()?;
        Some(self.bucket(side).lock().wait(rate, now))
    }

    /// Bytes of a throttled replica were copied.
    pub fn copied(&self, side: Side, bytes: u64) {
        self.bucket(side).lock().take(bytes);
    }
}

/// True if the list (`*`, or `partition:broker` pairs) names the partition on this broker.
fn names(list: &str, topic: &Topic, key: &TopicPartition, node: NodeId) -> bool {
    let list = list.trim();
    let named = |pair: &str| {
        let (partition, broker) = pair.trim().split_once(':')?;
        Some((partition.parse::<i32>().ok()?, broker.parse::<i32>().ok()?))
    };
    let wanted = Some((key.partition.get(), node.get()));
    !topic.partitions.is_empty() && (list == "*" || list.split(',').any(|pair| named(pair) == wanted))
}

/// Bytes per second, if there is a limit.
fn rate(side: Side, image: &MetadataImage, fixed: &StaticValues, node: NodeId) -> Option<u64> {
    let name = side.rate();
    let dynamic = |resource| image.config(&resource).and_then(|values| values.get(name));
    let value = dynamic(ConfigResource::Broker(node))
        .or_else(|| dynamic(ConfigResource::ClusterDefault))
        .or_else(|| fixed.values.get(name))?;
    let rate = value.trim().parse::<i64>().ok()?;
    (rate != i64::MAX).then(|| u64::try_from(rate).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use highwater_proto::metadata::{
        Change, MetadataUpdate, NodeDuty, NodeRegistration, NodeRole, Partition, Rebalance,
    };
    use highwater_proto::types::{PartitionIndex, Revision, TopicId};
    use uuid::Uuid;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn over_time_no_more_passes_than_the_rate() {
        let mut bucket = TokenBucket::default();
        let (rate, size) = (1_000_000, 300_000);
        let (mut passed, mut now) = (0, Duration::ZERO);
        while now < Duration::from_secs(20) {
            let wait = bucket.wait(rate, now);
            if wait.is_zero() {
                bucket.take(size);
                passed += size;
            } else {
                now += wait;
            }
        }
        // One second's worth at the start, and at most one answer too many.
        assert!((20_000_000..=21_000_000 + size).contains(&passed), "{passed}");
    }

    #[test]
    fn a_pause_is_not_made_up_for_and_a_lower_rate_counts_at_once() {
        let mut bucket = TokenBucket::default();
        assert_eq!(bucket.wait(1_000, ms(0)), Duration::ZERO);
        bucket.take(1_500);
        assert_eq!(bucket.wait(1_000, ms(0)), ms(501));
        assert_eq!(bucket.wait(1_000, Duration::from_secs(100)), Duration::ZERO);
        bucket.take(1_000);
        assert!(
            !bucket.wait(1_000, Duration::from_secs(100)).is_zero(),
            "only one second's worth was saved"
        );
        bucket.take(1_000_000);
        assert_eq!(
            bucket.wait(0, Duration::from_secs(101)),
            ms(1_000),
            "nothing passes at rate 0"
        );
    }

    #[test]
    fn who_is_named_and_not_in_sync_is_held_back() {
        let key = |partition| TopicPartition {
            topic_id: TopicId(Uuid::from_u128(1)),
            partition: PartitionIndex(partition),
        };
        let image = |replicas: &str, rates: &[(ConfigResource, &str)]| {
            let partition = Partition {
                replicas: vec![NodeId(1), NodeId(2), NodeId(3)],
                isr: vec![NodeId(1), NodeId(2)],
                ..Partition::default()
            };
            let mut changes: Vec<_> = (0..2)
                .map(|index| Change::PutPartition(key(0).topic_id, PartitionIndex(index), partition.clone()))
                .collect();
            changes.push(Change::PutTopic {
                name: "a".into(),
                topic_id: key(0).topic_id,
                partition_count: 2,
                configs: BTreeMap::from([(Side::Leader.replicas().to_owned(), replicas.to_owned())]),
                owner: None,
            });
            changes.extend(rates.iter().map(|(resource, rate)| {
                let values = BTreeMap::from([(Side::Leader.rate().to_owned(), (*rate).to_owned())]);
                Change::PutConfig(resource.clone(), values)
            }));
            MetadataImage::default().apply(&MetadataUpdate {
                revision: Revision(1),
                changes,
            })
        };
        let fixed = StaticValues::default();
        let held = |image: &MetadataImage, side, partition, follower| {
            let throttles = Throttles::new(NodeId(1));
            throttles.copied(side, 10_000);
            let wait = throttles.wait(side, image, &fixed, &key(partition), NodeId(follower), ms(0));
            wait.is_some_and(|wait| !wait.is_zero())
        };
        let mine = (ConfigResource::Broker(NodeId(1)), "1000");
        let limited = image("0:1, 1:2", std::slice::from_ref(&mine));
        assert!(held(&limited, Side::Leader, 0, 3));
        assert!(!held(&limited, Side::Leader, 0, 2), "in sync");
        assert!(!held(&limited, Side::Leader, 1, 3), "named on another broker");
        assert!(!held(&limited, Side::Follower, 0, 3), "the other side");
        assert!(held(&image("*", std::slice::from_ref(&mine)), Side::Leader, 1, 3));
        assert!(!held(&image("none", std::slice::from_ref(&mine)), Side::Leader, 1, 3));
        let all = (ConfigResource::ClusterDefault, "1000");
        assert!(held(&image("*", std::slice::from_ref(&all)), Side::Leader, 1, 3));
        let own = (ConfigResource::Broker(NodeId(1)), "9223372036854775807");
        assert!(
            !held(&image("*", &[all, own]), Side::Leader, 1, 3),
            "its own value is no limit"
        );
        assert!(!held(&image("*", &[]), Side::Leader, 1, 3), "no rate");
    }

    #[test]
    fn replicas_that_a_move_adds_are_held_back_by_its_limit() {
        let key = TopicPartition {
            topic_id: TopicId(Uuid::from_u128(1)),
            partition: PartitionIndex(0),
        };
        let node = |id| NodeId(id);
        let image = |rebalance: Rebalance, draining: bool, named: bool| {
            let partition = Partition {
                replicas: vec![node(1), node(2), node(3), node(4)],
                adding: vec![node(3)],
                removing: vec![node(2)],
                isr: vec![node(1), node(2)],
                ..Partition::default()
            };
            let registration = NodeRegistration {
                role: NodeRole::Broker,
                incarnation: Uuid::from_u128(1),
                directory_id: Uuid::from_u128(2),
                endpoints: Vec::new(),
                rack: None,
                api_ranges: Vec::new(),
                pod_uid: None,
            };
            let duty = if draining { NodeDuty::Draining } else { NodeDuty::Full };
            let names = BTreeMap::from([(Side::Leader.replicas().to_owned(), "*".to_owned())]);
            let rates = BTreeMap::from([(Side::Leader.rate().to_owned(), "1000".to_owned())]);
            MetadataImage::default().apply(&MetadataUpdate {
                revision: Revision(1),
                changes: vec![
                    Change::PutNodeRegistration(node(2), registration),
                    Change::PutNodeDuty(node(2), duty),
                    Change::PutRebalance(rebalance),
                    Change::PutPartition(key.topic_id, key.partition, partition),
                    Change::PutConfig(ConfigResource::ClusterDefault, rates),
                    Change::PutTopic {
                        name: "a".into(),
                        topic_id: key.topic_id,
                        partition_count: 1,
                        configs: if named { names } else { BTreeMap::new() },
                        owner: None,
                    },
                ],
            })
        };
        let fixed = StaticValues::default();
        // How long somebody waits who has copied 1,000,000 bytes too many.
        let wait = |image: &MetadataImage, follower| {
            let throttles = Throttles::new(node(1));
            throttles.wait(Side::Leader, image, &fixed, &key, node(follower), ms(0));
            throttles.copied(Side::Leader, 1_000_000);
            throttles.wait(Side::Leader, image, &fixed, &key, node(follower), ms(0))
        };
        let limits = |throttle, drain_throttle| Rebalance {
            throttle,
            drain_throttle,
            ..Rebalance::default()
        };
        let rebalance = limits(Some(10_000_000), None);
        assert_eq!(
            wait(&image(rebalance.clone(), false, false), 3),
            Some(Duration::ZERO),
            "within the burst"
        );
        assert_eq!(
            wait(&image(rebalance.clone(), false, false), 4),
            None,
            "no move adds it"
        );
        assert_eq!(wait(&image(rebalance.clone(), false, false), 2), None, "in sync");
        assert_eq!(
            wait(&image(rebalance.clone(), true, false), 3),
            None,
            "a drain has a limit of its own"
        );
        assert_eq!(wait(&image(limits(None, Some(1)), true, false), 3), Some(WAIT.1));
        assert_eq!(wait(&image(limits(None, Some(1)), false, false), 3), None);
        let both = image(rebalance, false, true);
        assert_eq!(wait(&both, 3), Some(WAIT.1), "the smaller of two limits counts");
    }
}
