//! Followers that ask again for what they were sent: perhaps what is stored here is damaged. Who sends never looks at the
//! records, so it is the followers who find out.

use std::sync::Arc;

use highwater_proto::record::Batch;
use highwater_proto::types::{NodeId, Offset};
use smallvec::SmallVec;

use super::Partition;
use crate::log::LogError;

/// Times that a follower is sent the same before it is looked at.
const SUSPICIOUS: u8 = 4;

/// What each follower was sent last.
#[derive(Debug, Default)]
pub(super) struct Refetched {
    last: SmallVec<[Sent; 2]>,
}

#[derive(Debug)]
struct Sent {
    node: NodeId,
    offset: Offset,
    times: u8,
}

impl Refetched {
    /// A follower is sent records from `offset` on. True if it was sent them so often that they should be looked at; once.
    pub(super) fn sent(&mut self, node: NodeId, offset: Offset) -> bool {
        let Some(last) = self.last.iter_mut().find(|it| it.node == node) else {
            self.last.push(Sent { node, offset, times: 1 });
            return false;
        };
        if last.offset != offset {
            (last.offset, last.times) = (offset, 1);
            return false;
        }
        last.times = last.times.saturating_add(1);
        last.times == SUSPICIOUS
    }
}

impl Partition {
    /// Looks whether the batch at `offset` is what it was when it was appended; if not, the replica goes offline, to be
    /// copied from another one. Slow: reads from disk.
    pub fn verify(self: &Arc<Self>, offset: Offset) {
        let (topic, partition) = (self.topic().name().clone(), self.index());
        let slice = {
            let state = self.state.lock();
            let Ok(log) = state.log() else { return };
            match log.read(offset, 0, log.log_end(), true) {
                Ok(Some(slice)) => slice,
                Ok(None) => return,
                Err(error) => return self.read_failed(state, &error),
            }
        };
        let reason = match slice.to_bytes().map(|bytes| Batch::parse(&bytes)) {
            Ok(Ok(batch)) if batch.verify_crc() => {
                return tracing::warn!(%topic, %partition, %offset, "a follower asks for the same again and again; it is sound here");
            }
            Ok(Ok(_)) => "the checksum does not match".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        let error = LogError::Corrupt {
            partition: format!("{topic}-{partition}"),
            file: "a segment".to_owned(),
            position: slice.position,
            reason,
        };
        let state = self.state.lock();
        // Cut meanwhile: then it was something else that was read.
        let unchanged = state
            .log()
            .is_ok_and(|log| log.log_start() <= offset && offset < log.log_end());
        if unchanged {
            self.read_failed(state, &error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_sent_the_same_again_and_again_is_suspicious_and_once() {
        let mut refetched = Refetched::default();
        let mut sent = |node, offset| refetched.sent(NodeId(node), Offset(offset));
        assert!(!sent(1, 5) && !sent(1, 5) && !sent(2, 5) && !sent(1, 5));
        assert!(sent(1, 5), "four times");
        assert!(!sent(1, 5) && !sent(2, 6) && !sent(1, 9) && !sent(1, 9));
    }
}
