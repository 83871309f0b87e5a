//! The soft disk limit (design section 9): producers are slowed down, then refused, before the disk is full. What is left
//! then serves internal topics, followers and whatever makes room. It heals by itself.

use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::time::Duration;

use highwater_proto::metadata::{DiskPressure, MetadataImage, NodeDisk, Partition};
use highwater_proto::types::NodeId;
use parking_lot::Mutex;

/// The reserve: 1 % of the disk, at least this much.
const LEAST_RESERVE_BYTES: u64 = 1 << 30;
/// Small disks: the reserve is at most this part of the disk, the soft limit at most twice that.
const LARGEST_RESERVE_PERCENT: u64 = 5;
/// Longest pause before one produce request.
const LONGEST_DELAY: Duration = Duration::from_secs(1);
/// Shortest, right below the soft limit.
const SHORTEST_DELAY: Duration = Duration::from_millis(10);
/// Room that has to be won back, in percent of a threshold, before the pressure falls again.
const MARGIN_PERCENT: u64 = 10;

/// Where the pressure begins, in free bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskLimit {
    /// Below this producers are slowed down.
    pub soft: u64,
    /// Below this they are refused.
    pub reserve: u64,
}

impl DiskLimit {
    /// The limits of a disk of `total` bytes, for `disk.soft.free.bytes` and `disk.soft.free.percent`. Both 0: no limit.
    #[must_use]
    pub fn new(soft_bytes: u64, soft_percent: u64, total: u64) -> Self {
        if soft_bytes == 0 && soft_percent == 0 {
            return Self { soft: 0, reserve: 0 };
        }
        let percent = |part: u64| u64::try_from(u128::from(total) * u128::from(part) / 100).unwrap_or(u64::MAX);
        let reserve = LEAST_RESERVE_BYTES
            .max(percent(1))
            .min(percent(LARGEST_RESERVE_PERCENT));
        let soft = soft_bytes
            .min(percent(2 * LARGEST_RESERVE_PERCENT))
            .max(percent(soft_percent));
        Self {
            soft: soft.max(reserve),
            reserve,
        }
    }

    /// The pressure with so many bytes free, after it was `before`.
    #[must_use]
    pub fn pressure(&self, free: u64, before: DiskPressure) -> DiskPressure {
        let with_margin = |bytes: u64| bytes + bytes / 100 * MARGIN_PERCENT;
        let threshold = |bytes: u64, at: DiskPressure| if before >= at { with_margin(bytes) } else { bytes };
        if free < threshold(self.reserve, DiskPressure::Full) {
            DiskPressure::Full
        } else if free < threshold(self.soft, DiskPressure::Low) {
            DiskPressure::Low
        } else {
            DiskPressure::None
        }
    }

    /// What a produce request waits under low pressure: longer the closer the reserve is.
    #[must_use]
    pub fn delay(&self, free: u64) -> Duration {
        delay_at(self.share(free))
    }

    /// How much of the room between the soft limit and the reserve is taken, from 0 to 1.
    fn share(&self, free: u64) -> f64 {
        let zone = self.soft.saturating_sub(self.reserve).max(1);
        let into = self.soft.saturating_sub(free).min(zone);
        into as f64 / zone as f64
    }
}

fn delay_at(share: f64) -> Duration {
    LONGEST_DELAY.mul_f64(share).max(SHORTEST_DELAY)
}

/// What the room on a disk means for a producer; the worse, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// It goes on.
    Enough,
    /// It waits for so long first.
    Little(Duration),
    /// It is refused.
    None,
}

/// What is known of the disk between two looks at it.
#[derive(Debug)]
pub struct DiskGauge {
    soft_bytes: u64,
    soft_percent: u64,
    /// Free at the last look, less what was appended since; may fall below zero.
    free: AtomicI64,
    /// Below this the pressure rises.
    rises_below: AtomicI64,
    pressure: AtomicU8,
    /// What other brokers are told of the way to the reserve.
    tenths: AtomicU8,
    limit: Mutex<DiskLimit>,
}

impl DiskGauge {
    /// Nothing is known yet: no pressure.
    #[must_use]
    pub fn new(soft_bytes: u64, soft_percent: u64) -> Self {
        Self {
            soft_bytes,
            soft_percent,
            free: AtomicI64::new(i64::MAX),
            rises_below: AtomicI64::new(i64::MIN),
            pressure: AtomicU8::new(encode(DiskPressure::None)),
            tenths: AtomicU8::new(0),
            limit: Mutex::new(DiskLimit { soft: 0, reserve: 0 }),
        }
    }

    /// The file system was asked.
    pub fn looked(&self, free: u64, total: u64) {
        let limit = DiskLimit::new(self.soft_bytes, self.soft_percent, total);
        *self.limit.lock() = limit;
        self.free
            .store(i64::try_from(free).unwrap_or(i64::MAX), Ordering::Relaxed);
        let pressure = limit.pressure(free, self.pressure());
        self.is_now(pressure, free, limit);
        // Each change goes through the controller's store, so one that may be undone at the next look is none.
        let (before, now) = (self.tenths(), (limit.share(free) * 10.0) as u8);
        if pressure == DiskPressure::None || now > before || now + 2 <= before {
            let told = if pressure == DiskPressure::None { 0 } else { now };
            self.tenths.store(told, Ordering::Relaxed);
        }
    }

    /// Says at start which limits hold; `chosen` if somebody set `disk.soft.free.bytes`, which may be more than a disk of
    /// this size allows.
    pub fn say_limits(&self, chosen: bool) {
        let limit = *self.limit.lock();
        let (soft_mib, reserve_mib) = (limit.soft >> 20, limit.reserve >> 20);
        if chosen && self.soft_bytes > limit.soft {
            let wanted_mib = self.soft_bytes >> 20;
            tracing::warn!(
                wanted_mib,
                soft_mib,
                reserve_mib,
                "disk.soft.free.bytes is more than a tenth of the disk: less of it holds"
            );
        } else {
            tracing::info!(
                soft_mib,
                reserve_mib,
                "below so much free room producers are slowed down, and refused"
            );
        }
    }

    /// Bytes went into a log; the next look may be a while off.
    pub fn appended(&self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let left = self.free.fetch_sub(bytes, Ordering::Relaxed).saturating_sub(bytes);
        if left < self.rises_below.load(Ordering::Relaxed) {
            let (free, limit) = (u64::try_from(left).unwrap_or(0), *self.limit.lock());
            // It rises between two looks, and falls only at a look.
            let pressure = limit.pressure(free, self.pressure()).max(self.pressure());
            self.is_now(pressure, free, limit);
        }
    }

    fn is_now(&self, pressure: DiskPressure, free: u64, limit: DiskLimit) {
        let rises_below = match pressure {
            DiskPressure::None => i64::try_from(limit.soft).unwrap_or(i64::MAX),
            DiskPressure::Low => i64::try_from(limit.reserve).unwrap_or(i64::MAX),
            DiskPressure::Full => i64::MIN,
        };
        self.rises_below.store(rises_below, Ordering::Relaxed);
        let before = decode(self.pressure.swap(encode(pressure), Ordering::Relaxed));
        if pressure != before {
            report(pressure, before, free, limit);
        }
    }

    /// How this broker's disk fares.
    #[must_use]
    pub fn pressure(&self) -> DiskPressure {
        decode(self.pressure.load(Ordering::Relaxed))
    }

    /// Free bytes; `None` before the first look.
    #[must_use]
    pub fn free(&self) -> Option<u64> {
        let free = self.free.load(Ordering::Relaxed);
        (free != i64::MAX).then(|| u64::try_from(free).unwrap_or(0))
    }

    /// How far it is from the soft limit to the reserve, in tenths, for the leaders of what is replicated here.
    #[must_use]
    pub fn tenths(&self) -> u8 {
        self.tenths.load(Ordering::Relaxed)
    }

    /// What the room on this disk means for a producer.
    #[must_use]
    pub fn room(&self) -> Room {
        match self.pressure() {
            DiskPressure::None => Room::Enough,
            DiskPressure::Low => {
                let free = u64::try_from(self.free.load(Ordering::Relaxed)).unwrap_or(0);
                Room::Little(self.limit.lock().delay(free))
            }
            DiskPressure::Full => Room::None,
        }
    }
}

/// The least room on the disks of a partition's replicas, with the broker it is on. A leader that took what its
/// followers have no room for would only put them out of the ISR. A broker that is not live does not count: it takes
/// nothing, and what it said last may be long over.
#[must_use]
pub fn worst_of_replicas(image: &MetadataImage, partition: &Partition) -> (Room, Option<NodeId>) {
    let replicas = partition.replicas.iter().filter_map(|id| image.node(*id));
    let disks = replicas
        .filter(|node| node.is_live())
        .map(|node| (room_of(node.disk), Some(node.id)));
    disks.max_by_key(|(room, _)| *room).unwrap_or((Room::Enough, None))
}

fn room_of(disk: NodeDisk) -> Room {
    match disk.pressure {
        DiskPressure::None => Room::Enough,
        DiskPressure::Low => Room::Little(delay_at(f64::from(disk.tenths) / 10.0)),
        DiskPressure::Full => Room::None,
    }
}

fn report(pressure: DiskPressure, before: DiskPressure, free: u64, limit: DiskLimit) {
    let (free_mib, reserve_mib) = (free >> 20, limit.reserve >> 20);
    match pressure {
        DiskPressure::Full => tracing::error!(
            free_mib,
            reserve_mib,
            "the disk is full but for the reserve: producers are refused until there is room (shorten retention, delete topics, or give the broker a larger disk)"
        ),
        DiskPressure::Low => tracing::warn!(
            free_mib,
            reserve_mib,
            ?before,
            "the disk is nearly full: producers are slowed down"
        ),
        DiskPressure::None => tracing::info!(free_mib, "the disk has room again"),
    }
}

pub(crate) fn encode(pressure: DiskPressure) -> u8 {
    match pressure {
        DiskPressure::None => 0,
        DiskPressure::Low => 1,
        DiskPressure::Full => 2,
    }
}

pub(crate) fn decode(code: u8) -> DiskPressure {
    match code {
        0 => DiskPressure::None,
        1 => DiskPressure::Low,
        _ => DiskPressure::Full,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn the_reserve_is_one_percent_at_least_a_gibibyte_and_small_disks_keep_a_small_one() {
        let limit = |total: u64| DiskLimit::new(2 * GIB, 2, total);
        assert_eq!(
            limit(1000 * GIB),
            DiskLimit {
                soft: 20 * GIB,
                reserve: 10 * GIB
            }
        );
        assert_eq!(
            limit(50 * GIB),
            DiskLimit {
                soft: 2 * GIB,
                reserve: GIB
            }
        );
        let small = limit(GIB);
        assert_eq!((small.soft, small.reserve), (GIB / 10, GIB / 20));
        assert_eq!(DiskLimit::new(0, 0, 50 * GIB), DiskLimit { soft: 0, reserve: 0 });
    }

    #[test]
    fn pressure_rises_at_once_and_falls_with_a_margin() {
        let limit = DiskLimit {
            soft: 2000,
            reserve: 1000,
        };
        assert_eq!(limit.pressure(2000, DiskPressure::None), DiskPressure::None);
        assert_eq!(limit.pressure(1999, DiskPressure::None), DiskPressure::Low);
        assert_eq!(limit.pressure(999, DiskPressure::None), DiskPressure::Full);
        assert_eq!(limit.pressure(1050, DiskPressure::Full), DiskPressure::Full);
        assert_eq!(limit.pressure(1100, DiskPressure::Full), DiskPressure::Low);
        assert_eq!(limit.pressure(2100, DiskPressure::Low), DiskPressure::Low);
        assert_eq!(limit.pressure(2200, DiskPressure::Low), DiskPressure::None);
    }

    #[test]
    fn the_pause_grows_towards_the_reserve_and_is_bounded() {
        let limit = DiskLimit {
            soft: 2000,
            reserve: 1000,
        };
        assert_eq!(limit.delay(1999), SHORTEST_DELAY);
        assert_eq!(limit.delay(1500), LONGEST_DELAY / 2);
        assert_eq!(limit.delay(0), LONGEST_DELAY);
    }

    #[test]
    fn what_is_appended_counts_before_the_next_look() {
        let gauge = DiskGauge::new(2 * GIB, 2);
        gauge.looked(3 * GIB, 50 * GIB);
        assert_eq!(gauge.pressure(), DiskPressure::None);
        gauge.appended(GIB + 1);
        assert_eq!(gauge.pressure(), DiskPressure::Low);
        gauge.appended(GIB);
        assert_eq!(gauge.pressure(), DiskPressure::Full);
        gauge.looked(10 * GIB, 50 * GIB);
        assert_eq!(gauge.pressure(), DiskPressure::None);
    }

    #[test]
    fn other_brokers_hear_of_the_way_to_the_reserve_without_back_and_forth() {
        let gauge = DiskGauge::new(2 * GIB, 2);
        let tenths = |free: u64| {
            gauge.looked(free, 50 * GIB);
            gauge.tenths()
        };
        let at = |tenths: u64| 2 * GIB - GIB / 10 * tenths - 16;
        assert_eq!(tenths(3 * GIB), 0);
        assert_eq!(tenths(at(3)), 3);
        assert_eq!(tenths(at(2)), 3, "not for so little");
        assert_eq!(tenths(at(5)), 5);
        assert_eq!(tenths(at(3)), 3);
        assert_eq!(tenths(GIB / 2), 10);
        assert_eq!(tenths(3 * GIB), 0);
    }
}
