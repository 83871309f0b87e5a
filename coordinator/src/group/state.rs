//! States of a classic group.

/// Where a classic group stands between two generations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GroupState {
    /// No members; it may have offsets.
    #[default]
    Empty,
    /// Members join the next generation.
    PreparingRebalance,
    /// The generation stands; members wait for the leader's assignment.
    CompletingRebalance,
    /// Every member can have its assignment.
    Stable,
}

impl GroupState {
    /// Kafka's name of the state, as DescribeGroups and ListGroups answer it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// The state that DescribeGroups gives to groups that do not exist.
pub(super) const DEAD: &str = "Dead";
