//! A partition of an internal topic as the log of a coordinator shard (design section 6): only the newest owner appends,
//! and only where it believes the log ends.

use std::sync::Arc;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::record::Batch;
use highwater_proto::types::{CoordinatorEpoch, LeaderEpoch, NodeId, Offset, TimestampMs};
use smallvec::SmallVec;

use crate::replica::ShardError;

use super::{AckError, AckGroup, AppendError, AppendOutcome, Partition, State, ack_error_code, leadership_error_code};

/// What the new owner of a shard finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardOpened {
    /// Epoch of the leader that answered: the owner names it from now on.
    pub leader_epoch: LeaderEpoch,
    /// First offset of the log.
    pub log_start: Offset,
    /// Offset after the last record: what the previous owner appended last may still commit.
    pub log_end: Offset,
    /// Offset up to which records are committed.
    pub high_watermark: Offset,
}

impl Partition {
    /// From now on older coordinator epochs are refused.
    ///
    /// # Errors
    /// Kafka's codes: 6 when this replica does not lead, 16 for an epoch older than one seen, 56.
    pub fn open_shard(&self, coordinator_epoch: CoordinatorEpoch) -> Result<ShardOpened, ErrorCode> {
        let mut state = self.state.lock();
        let State {
            replica, shard_owner, ..
        } = &mut *state;
        replica
            .open_shard(shard_owner, coordinator_epoch)
            .map_err(shard_error_code)?;
        let log = state.log()?;
        Ok(ShardOpened {
            leader_epoch: state.replica.leader_epoch(),
            log_start: log.log_start(),
            log_end: log.log_end(),
            high_watermark: state.replica.high_watermark(),
        })
    }

    /// Appends the batches of a shard's owner, all or nothing. Epochs and the expected end are looked at under the lock
    /// under which the append happens.
    ///
    /// # Errors
    /// 16 for an owner that is not the one that opened the shard, 6 or 74 when leadership changed since the owner opened the shard, 45 when the log does
    /// not end where the owner believes: in each case it has to open the shard again. Also those of an append.
    pub fn append_shard(
        self: &Arc<Self>,
        coordinator_epoch: CoordinatorEpoch,
        leader_epoch: LeaderEpoch,
        expected_end: Offset,
        batches: &[Batch],
        acks: &Arc<AckGroup>,
        now: TimestampMs,
    ) -> Result<AppendOutcome, AppendError> {
        let state = self.state.lock();
        state.log()?;
        state
            .replica
            .check_shard_append(&state.shard_owner, coordinator_epoch, leader_epoch, expected_end)
            .map_err(shard_error_code)?;
        self.append_locked(state, batches, Some(acks), now)
    }

    /// Whether this owner and this leader epoch still stand, as far as this broker knows; and the followers that know
    /// more: only when none of them has heard of a later leader does it hold (decision 0009).
    ///
    /// # Errors
    /// 16, 6, 74, 75 or 56: the owner has to open the shard again. 19 while the ISR is too small to say so.
    pub fn confirm_shard(
        &self,
        coordinator_epoch: CoordinatorEpoch,
        leader_epoch: LeaderEpoch,
    ) -> Result<SmallVec<[NodeId; 4]>, ErrorCode> {
        let state = self.state.lock();
        state.log()?;
        state
            .replica
            .check_shard(&state.shard_owner, coordinator_epoch, leader_epoch)
            .map_err(shard_error_code)?;
        state.witnesses()
    }

    /// The followers that know whether this leader epoch still stands, as [`Self::confirm_shard`].
    ///
    /// # Errors
    /// 6, 74 or 75; 19 while the ISR is too small to say so.
    pub fn confirm_leader(&self, leader_epoch: LeaderEpoch) -> Result<SmallVec<[NodeId; 4]>, ErrorCode> {
        let state = self.state.lock();
        state
            .replica
            .check_leadership(Some(leader_epoch))
            .map_err(leadership_error_code)?;
        state.witnesses()
    }

    /// The newest leader epoch that this replica has acted on, as leader or as follower.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.state.lock().replica.leader_epoch()
    }

    /// Has `acks` decided once the high watermark is at or past `offset`, or once it is clear that it will not be.
    ///
    /// # Errors
    /// 6, 74, 75 or 56.
    pub fn await_high_watermark(
        &self,
        leader_epoch: LeaderEpoch,
        offset: Offset,
        acks: &Arc<AckGroup>,
    ) -> Result<(), ErrorCode> {
        let mut state = self.state.lock();
        state
            .replica
            .check_leadership(Some(leader_epoch))
            .map_err(leadership_error_code)?;
        state.log()?;
        let decided = state.replica.wait(offset, acks.ack());
        drop(state);
        if let Err(decided) = decided {
            decided.ack.complete(decided.result);
        }
        Ok(())
    }

    /// Timestamp of the batch that holds `offset`: of its first record, so never younger than the record asked for.
    /// `None` when there is no such record (any more). Reads from disk.
    ///
    /// # Errors
    /// 56 when the storage failed.
    pub fn timestamp_at(&self, offset: Offset) -> Result<Option<TimestampMs>, ErrorCode> {
        let state = self.state.lock();
        match state.log()?.batch_at(offset) {
            Ok(header) => Ok(header.map(|header| header.base_timestamp)),
            Err(error) => {
                let code = super::log_error_code(&error);
                self.read_failed(state, &error);
                Err(code)
            }
        }
    }
}

impl State {
    fn witnesses(&self) -> Result<SmallVec<[NodeId; 4]>, ErrorCode> {
        self.replica.witnesses().map_err(|error| match error {
            AckError::NotEnoughReplicas => ErrorCode::NotEnoughReplicas,
            error => ack_error_code(error, true),
        })
    }
}

fn shard_error_code(error: ShardError) -> ErrorCode {
    match error {
        ShardError::Leadership(error) => leadership_error_code(error),
        ShardError::NotOwner => ErrorCode::NotCoordinator,
        ShardError::OtherEnd => ErrorCode::OutOfOrderSequenceNumber,
    }
}
