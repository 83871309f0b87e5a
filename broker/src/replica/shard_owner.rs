//! A replica as the log of a coordinator shard (design section 6): only the owner that opened it last appends, and only
//! where it believes the log ends.

use highwater_proto::types::{CoordinatorEpoch, LeaderEpoch, Offset};

use super::{LeadershipError, Replica};

/// The owner that opened the shard here last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardOwner {
    opened: Option<CoordinatorEpoch>,
}

/// Why an owner's request was refused before it touched the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardError {
    /// This replica does not lead in the epoch that the owner had opened.
    Leadership(LeadershipError),
    /// Another owner opened the shard since (`NOT_COORDINATOR`).
    NotOwner,
    /// The log does not end where the owner believes (`OUT_OF_ORDER_SEQUENCE_NUMBER`).
    OtherEnd,
}

impl From<LeadershipError> for ShardError {
    fn from(error: LeadershipError) -> Self {
        Self::Leadership(error)
    }
}

/// Refuses an owner that the image has replaced, which has the shard `assigned` with a later epoch. What the image cannot
/// know yet is for [`Replica::check_shard`] to refuse.
///
/// # Errors
/// [`ShardError::NotOwner`]
pub fn check_assignment(assigned: Option<CoordinatorEpoch>, epoch: CoordinatorEpoch) -> Result<(), ShardError> {
    match assigned {
        Some(assigned) if assigned > epoch => Err(ShardError::NotOwner),
        _ => Ok(()),
    }
}

impl<A> Replica<A> {
    /// From now on older coordinator epochs are refused.
    ///
    /// # Errors
    /// [`ShardError`]
    pub fn open_shard(&self, owner: &mut ShardOwner, epoch: CoordinatorEpoch) -> Result<(), ShardError> {
        self.check_leadership(None)?;
        if owner.opened.is_some_and(|opened| opened > epoch) {
            return Err(ShardError::NotOwner);
        }
        owner.opened = Some(epoch);
        Ok(())
    }

    /// Whether this owner may append here: to be asked under the lock under which the append happens.
    ///
    /// # Errors
    /// [`ShardError`]: in each case it has to open the shard again.
    pub fn check_shard_append(
        &self,
        owner: &ShardOwner,
        epoch: CoordinatorEpoch,
        leader_epoch: LeaderEpoch,
        expected_end: Offset,
    ) -> Result<(), ShardError> {
        self.check_shard(owner, epoch, leader_epoch)?;
        if self.log.end == expected_end {
            Ok(())
        } else {
            Err(ShardError::OtherEnd)
        }
    }

    /// Whether this owner and this leader epoch still stand, as far as this replica knows. The owner is the one that
    /// opened the shard last, not any that is not older: who has not opened it here has not waited for what was appended
    /// before.
    ///
    /// # Errors
    /// [`ShardError`]: in each case it has to open the shard again.
    pub fn check_shard(
        &self,
        owner: &ShardOwner,
        epoch: CoordinatorEpoch,
        leader_epoch: LeaderEpoch,
    ) -> Result<(), ShardError> {
        self.check_leadership(Some(leader_epoch))?;
        if owner.opened == Some(epoch) {
            Ok(())
        } else {
            Err(ShardError::NotOwner)
        }
    }
}
