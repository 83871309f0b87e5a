//! What a leader knows of one follower.

use std::time::Duration;

use highwater_proto::types::{BrokerEpoch, NodeId, Offset};

use super::BrokerView;

/// A follower's fetch, as far as it acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerFetch {
    /// The follower.
    pub node: NodeId,
    /// The registration it runs under.
    pub broker_epoch: BrokerEpoch,
    /// The offset it asks from: everything below is on its disk.
    pub offset: Offset,
    /// First offset of its log.
    pub log_start: Offset,
    /// Monotonic time of the fetch.
    pub now: Duration,
}

#[derive(Debug)]
pub(super) struct Follower {
    pub(super) node: NodeId,
    /// What the image says of its broker; `None` while that is not registered.
    broker: Option<BrokerView>,
    /// The image says that its replica cannot be used.
    offline: bool,
    /// `None` until it fetched in this leader epoch under its present registration.
    flushed_end: Option<Offset>,
    /// First offset of its log, as of its last fetch.
    log_start: Option<Offset>,
    last_fetch: Option<(Duration, Offset)>,
    /// The last time at which it had everything; `None`: never in this leader epoch.
    last_caught_up: Option<Duration>,
}

impl Follower {
    pub(super) fn new(node: NodeId, in_sync: bool, now: Duration) -> Self {
        Self {
            node,
            broker: None,
            offline: false,
            flushed_end: None,
            log_start: None,
            last_fetch: None,
            last_caught_up: in_sync.then_some(now),
        }
    }

    /// The offset up to which it counts for the high watermark: nothing until it has fetched.
    pub(super) fn flushed_end(&self) -> Offset {
        self.flushed_end.unwrap_or(Offset(0))
    }

    /// True if a reader may start at `offset` there.
    pub(super) fn holds(&self, offset: Offset) -> bool {
        self.flushed_end.is_some_and(|end| offset <= end) && self.log_start.is_some_and(|start| start <= offset)
    }

    /// First offset of its log if it lives; 0 until it has fetched.
    pub(super) fn live_log_start(&self) -> Option<Offset> {
        let live = self.broker.is_some_and(|broker| broker.eligible);
        live.then(|| self.log_start.unwrap_or(Offset(0)))
    }

    /// The epoch it is registered with; -1 while it is not, which no controller accepts into an ISR.
    pub(super) fn epoch(&self) -> BrokerEpoch {
        self.broker.map_or(BrokerEpoch(-1), |broker| broker.epoch)
    }

    pub(super) fn registered(&mut self, broker: Option<BrokerView>) {
        if self.broker.map(|it| it.epoch) != broker.map(|it| it.epoch) {
            // Another incarnation: it may have lost what it had acknowledged. The time it was caught up stays, so that
            // it is given the usual lag before it leaves the ISR.
            self.reset();
        }
        self.broker = broker;
    }

    /// The controller was told that the replica cannot be used: what it acknowledged before counts no more, only what it
    /// fetches from now on.
    pub(super) fn is_offline(&mut self, offline: bool) {
        if offline && !self.offline {
            self.reset();
        }
        self.offline = offline;
    }

    pub(super) fn accepts(&self, epoch: BrokerEpoch) -> bool {
        self.broker.is_some_and(|broker| broker.epoch == epoch)
    }

    pub(super) fn reset(&mut self) {
        self.flushed_end = None;
        self.log_start = None;
        self.last_fetch = None;
    }

    /// Rule 26: caught up now, or at the time of the previous fetch if it now asks from the end it saw then.
    pub(super) fn fetched(&mut self, fetch: &FollowerFetch, log_end: Offset) {
        if fetch.offset >= log_end {
            self.last_caught_up = Some(fetch.now);
        } else if let Some((time, end)) = self.last_fetch
            && fetch.offset >= end
        {
            self.last_caught_up = self.last_caught_up.max(Some(time));
        }
        self.last_fetch = Some((fetch.now, log_end));
        self.flushed_end = Some(fetch.offset);
        self.log_start = Some(fetch.log_start);
    }

    /// Looked at from time to time: one that has everything need not fetch to be caught up, and once there is more, its lag
    /// begins only then (rule 26).
    pub(super) fn is_caught_up(&mut self, log_end: Offset, now: Duration) {
        if self.flushed_end.is_some_and(|end| end >= log_end) {
            self.last_caught_up = Some(now);
        }
    }

    pub(super) fn may_join(&self, needed: Offset) -> bool {
        self.broker.is_some_and(|broker| broker.eligible) && self.flushed_end.is_some_and(|end| end >= needed)
    }

    /// True when it was not caught up for `max_lag`; one that has everything never lags, however idle.
    pub(super) fn lags(&self, log_end: Offset, now: Duration, max_lag: Duration) -> bool {
        if self.flushed_end.is_some_and(|end| end >= log_end) {
            return false;
        }
        self.last_caught_up
            .is_none_or(|time| now.saturating_sub(time) > max_lag)
    }
}
