//! Committing: one etcd transaction, guarded by the election key.
//!
//! A transaction whose answer is lost may still be on its way to etcd. Before its outcome is called unknown the election
//! key is written again, which moves the revision that all transactions are guarded by: what is read after that is all
//! that will ever be there. Where that does not succeed, the leadership ends.

use etcd_client::{Compare, CompareOp, GetResponse, PutOptions, Txn, TxnOp, TxnOpResponse, TxnResponse};
use highwater_proto::types::Revision;

use crate::store::etcd::endpoints::Endpoints;
use crate::store::etcd::failure::{Failure, header_revision};
use crate::store::etcd::held::Held;
use crate::store::etcd::keys::Keys;
use crate::store::{CommitError, Condition, Operation, Transaction};

/// Pause before the election key is written again after that failed.
const FENCE_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

const WENT_BACK: &str = "etcd has less than it had";

pub(super) async fn commit(
    endpoints: &Endpoints,
    keys: &Keys,
    held: &Held,
    transaction: &Transaction,
) -> Result<Revision, CommitError> {
    if !held.is_ours() {
        return Err(CommitError::Deposed);
    }
    let (fence, newest) = (held.fence(), held.newest());
    let txn = guarded(keys, fence, transaction);
    let failure = match endpoints.at_most_once(|client| send(client, txn.clone())).await {
        Ok(answer) if answer.succeeded() => match header_revision(answer.header()) {
            Ok(revision) if revision > newest => {
                held.wrote(revision);
                return Ok(Revision(revision));
            }
            // What it was decided on is not what is there.
            Ok(revision) => {
                tracing::error!(
                    revision,
                    newest,
                    "etcd has less than it had: was it restored from a backup?"
                );
                held.lost.cancel();
                return Err(CommitError::Unknown(WENT_BACK.to_owned()));
            }
            Err(failure) => failure,
        },
        Ok(answer) => return Err(refusal(held, fence, &answer)),
        Err(failure) => failure,
    };
    match failure {
        Failure::InDoubt(reason) => {
            tracing::warn!(reason, "the outcome of a transaction is unknown");
            shut_out(endpoints, keys, held, fence).await;
            Err(CommitError::Unknown(reason))
        }
        Failure::Refused(reason) if reason.contains("too large") => {
            Err(CommitError::Invalid("more bytes than etcd takes in a transaction"))
        }
        other => Err(CommitError::Unavailable(other.to_string())),
    }
}

async fn send(mut client: etcd_client::Client, txn: Txn) -> Result<TxnResponse, etcd_client::Error> {
    client.txn(txn).await
}

/// The transaction with the guard of the leadership and the mark that it is one of ours.
fn guarded(keys: &Keys, fence: i64, transaction: &Transaction) -> Txn {
    let equal = |key: String, revision| Compare::mod_revision(key, CompareOp::Equal, revision);
    let compare = |condition| match condition {
        Condition::Leadership => equal(keys.election(), fence),
        Condition::Key(guard) => equal(keys.full(&guard.key), guard.modified.get()),
    };
    let compares: Vec<Compare> = transaction.conditions().map(compare).collect();
    let write = |operation: &Operation| match operation {
        Operation::Put(key, value) => TxnOp::put(keys.full(key), &value[..], None),
        Operation::Delete(key) => TxnOp::delete(keys.full(key), None),
    };
    let mut writes: Vec<TxnOp> = transaction.operations.iter().map(write).collect();
    writes.push(mark(keys));
    Txn::new()
        .when(compares)
        .and_then(writes)
        .or_else([TxnOp::get(keys.election(), None)])
}

/// The write that makes a revision one of ours.
pub(super) fn mark(keys: &Keys) -> TxnOp {
    TxnOp::put(keys.marker(), "", None)
}

/// The election key, from an answer that brings it along.
pub(super) struct Election {
    pub(super) created: i64,
    pub(super) modified: i64,
    pub(super) lease: i64,
}

impl Election {
    /// `None`: nobody leads.
    pub(super) fn read(answer: &TxnResponse) -> Option<Self> {
        answer.op_responses().into_iter().find_map(|operation| match operation {
            TxnOpResponse::Get(found) => Self::of(&found),
            _ => None,
        })
    }

    fn of(found: &GetResponse) -> Option<Self> {
        found.kvs().first().map(|key| Self {
            created: key.create_revision(),
            modified: key.mod_revision(),
            lease: key.lease(),
        })
    }

    fn is_of(&self, held: &Held) -> bool {
        self.created == held.created.get()
    }
}

/// Which of the guards did not hold.
fn refusal(held: &Held, fence: i64, answer: &TxnResponse) -> CommitError {
    match Election::read(answer) {
        // A key was changed; or the fence was moved meanwhile, since the outcome of another transaction was unknown,
        // and whoever decides has to read anyway.
        Some(election) if election.is_of(held) => {
            if election.modified != fence {
                held.move_fence(election.modified);
            }
            CommitError::Conflict
        }
        _ => {
            held.lost.cancel();
            CommitError::Deposed
        }
    }
}

/// Makes sure that nothing guarded by this fence happens any more. When it returns, the fence is another or the
/// leadership is lost.
async fn shut_out(endpoints: &Endpoints, keys: &Keys, held: &Held, fence: i64) {
    let moving = async {
        let _turn = held.fencing.lock().await;
        while held.fence() == fence && held.is_ours() {
            if let Err(failure) = move_fence(endpoints, keys, held, fence).await {
                tracing::debug!(reason = %failure, "the election key was not written");
                tokio::time::sleep(FENCE_PAUSE).await;
            }
        }
    };
    // The clock of the lease bounds this: without etcd the leadership is soon over.
    tokio::select! {
        () = held.lost.cancelled() => {}
        () = moving => {
            if held.fence() == fence {
                held.lost.cancel();
            }
        }
    }
}

async fn move_fence(endpoints: &Endpoints, keys: &Keys, held: &Held, fence: i64) -> Result<(), Failure> {
    let options = PutOptions::new().with_lease(held.lease);
    let key = TxnOp::put(keys.election(), held.candidate.as_str(), Some(options));
    let txn = Txn::new()
        .when([Compare::mod_revision(keys.election(), CompareOp::Equal, fence)])
        .and_then([key, mark(keys)])
        .or_else([TxnOp::get(keys.election(), None)]);
    let answer = endpoints.repeat(|client| send(client, txn.clone())).await;
    let answer = match answer {
        Err(Failure::LeaseEnded) => {
            held.lost.cancel();
            return Ok(());
        }
        other => other?,
    };
    if answer.succeeded() {
        held.move_fence(header_revision(answer.header())?);
        return Ok(());
    }
    match Election::read(&answer) {
        // An attempt whose answer was lost had succeeded.
        Some(election) if election.is_of(held) => held.move_fence(election.modified),
        _ => held.lost.cancel(),
    }
    Ok(())
}
