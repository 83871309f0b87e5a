//! A node's tie to the controller: one session stream that registers it and keeps it alive, one watch that brings the
//! metadata image, and a channel for admin calls.

mod backoff;
mod controllers;
mod link;
mod questions;
mod stream;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use highwater_proto::metadata::{DiskPressure, NodeRegistration};
use highwater_proto::types::{BrokerEpoch, NodeId, Revision, TopicPartition};

use crate::config::SessionConfig;
use crate::transport::Dialer;

pub use backoff::Backoff;
pub use controllers::{name_active_controller, named_active_controller};
pub use link::ControllerLink;
pub use questions::{LeaderMove, LogEnd, Question, Reply};

/// Whom to reach, and how.
#[derive(Clone)]
pub struct LinkOptions {
    /// Hosts and ports of the controllers; at least one.
    pub controllers: Vec<(String, u16)>,
    /// Reaches them.
    pub dialer: Dialer,
    /// Timing of the session.
    pub session: SessionConfig,
    /// Asked before each heartbeat.
    pub status: StatusSource,
}

/// Gives the figures for a heartbeat, from where the work is done. It must not block.
pub type StatusSource = Arc<dyn Fn() -> NodeStatus + Send + Sync>;

/// How a node fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// Revision up to which the node has acted on its image; `None` = as far as it was received.
    pub applied_revision: Option<Revision>,
    /// Free bytes on the data disk.
    pub disk_free_bytes: u64,
    /// Size of the data disk in bytes.
    pub disk_total_bytes: u64,
    /// What that means: producers go on, are slowed down, or are refused.
    pub disk_pressure: DiskPressure,
    /// How much they are slowed down: tenths of the way from the soft limit to the reserve.
    pub disk_tenths: u8,
    /// Age of the oldest flush that has not finished; zero when none is under way.
    pub oldest_unfinished_flush: Duration,
    /// How long a worker thread was kept from its work since the last heartbeat.
    pub longest_worker_stall: Duration,
}

/// What a node says of itself at the start of its session. The incarnation in it is that of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// `node.id` as configured or as the data directory says; `None` = the controller gives one.
    pub node_id: Option<NodeId>,
    /// As the data directory says; empty on the first start.
    pub cluster_id: String,
    /// Role, incarnation, directory, endpoints.
    pub node: NodeRegistration,
    /// The data directory was left clean.
    pub clean_shutdown: bool,
    /// Generation and revision of the newest image that earlier process starts have seen.
    pub seen: (i64, Revision),
}

/// What the controller made of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The node's id.
    pub node_id: NodeId,
    /// Revision of its registration.
    pub epoch: BrokerEpoch,
    /// The cluster.
    pub cluster_id: String,
}

/// What recovery found: replicas that may not count as in sync.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Their log ends below its recorded flush point.
    pub short: Vec<TopicPartition>,
    /// Their log is not there.
    pub missing: Vec<TopicPartition>,
    /// Their disk failed.
    pub offline: Vec<TopicPartition>,
    /// They may have acknowledged from the page cache before an unclean stop.
    pub untrusted: Vec<TopicPartition>,
}

/// Why the tie to the controller is gone, or an answer did not come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The registration was refused for good: the process prints this and stops.
    #[error("the controller refused this node: {0}")]
    Refused(String),
    /// The controller speaks for another cluster, or gave another id: the process prints this and stops.
    #[error("the controller does not fit this node: {0}")]
    Mismatch(String),
    /// The link was closed.
    #[error("the session with the controller is closed")]
    Closed,
    /// No answer in time; the link goes on trying.
    #[error("no answer from the controller within {0:?}")]
    Timeout(Duration),
}

impl LinkError {
    /// True when trying again cannot help.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::Timeout(_))
    }
}

#[cfg(test)]
mod tests;
