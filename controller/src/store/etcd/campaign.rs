//! The election: whoever creates the election key leads, as long as the key's lease lives.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp};
use highwater_proto::types::Revision;
use tokio::time::Instant;

use crate::store::StoreError;
use crate::store::etcd::Inner;
use crate::store::etcd::commit::{Election, mark};
use crate::store::etcd::endpoints::Endpoints;
use crate::store::etcd::failure::{Failure, header_revision};
use crate::store::etcd::held::{Held, patience};
use crate::store::etcd::lease;

/// Pause before the next attempt after etcd failed.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Waits for the leadership, for as long as it takes.
pub(super) async fn campaign(inner: &Arc<Inner>, candidate: &str) -> Result<(Arc<Held>, Duration), StoreError> {
    loop {
        match attempt(inner, candidate).await {
            Ok(Attempt::Won(held, ttl)) => return Ok((held, ttl)),
            Ok(Attempt::Led { at }) => {
                // Should the news of its end be lost, the key is looked at again.
                let _ = tokio::time::timeout(inner.lease_ttl, inner.leader.gone(at)).await;
            }
            Err(Failure::Refused(reason)) => return Err(StoreError::Refused(reason)),
            Err(failure) => {
                tracing::debug!(reason = %failure, "no election yet");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
}

enum Attempt {
    /// This candidate leads, by a lease of this length.
    Won(Arc<Held>, Duration),
    /// Somebody led at this revision of etcd.
    Led { at: i64 },
}

async fn attempt(inner: &Inner, candidate: &str) -> Result<Attempt, Failure> {
    let key = inner.keys.election();
    let found = inner
        .endpoints
        .repeat(|mut client| {
            let key = key.clone();
            async move { client.get(key, None).await }
        })
        .await?;
    if !found.kvs().is_empty() {
        let at = header_revision(found.header())?;
        return Ok(Attempt::Led { at });
    }
    // The life of the lease counts from before it was asked for.
    let asked = Instant::now();
    let seconds = i64::try_from(inner.lease_ttl.as_millis().div_ceil(1_000)).unwrap_or(i64::MAX);
    let granted = inner
        .endpoints
        .repeat(|mut client| async move { client.lease_grant(seconds, None).await })
        .await?;
    let ttl = Duration::from_secs(granted.ttl().unsigned_abs());
    let pledge = Pledge {
        endpoints: Arc::clone(&inner.endpoints),
        lease: Some(granted.id()),
    };
    let outcome = tokio::time::timeout_at(asked + patience(ttl), claim(inner, candidate, granted.id())).await;
    match outcome {
        Ok(Ok(Claim::Won(created))) => {
            let held = Held::new(candidate, pledge.keep(), ttl, asked, Revision(created));
            Ok(Attempt::Won(Arc::new(held), ttl))
        }
        Ok(Ok(Claim::Led { at })) => Ok(Attempt::Led { at }),
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure::silence(patience(ttl))),
    }
}

enum Claim {
    /// The election key was created at this revision.
    Won(i64),
    /// Somebody else created it.
    Led { at: i64 },
}

/// Creates the election key, unless it is there. Tried until the outcome is known: the lease tells whose key it is.
async fn claim(inner: &Inner, candidate: &str, lease: i64) -> Result<Claim, Failure> {
    let key = inner.keys.election();
    let options = PutOptions::new().with_lease(lease);
    let txn = Txn::new()
        .when([Compare::create_revision(key.as_str(), CompareOp::Equal, 0)])
        .and_then([TxnOp::put(key.as_str(), candidate, Some(options)), mark(&inner.keys)])
        .or_else([TxnOp::get(key.as_str(), None)]);
    loop {
        let claimed = inner.endpoints.repeat(|mut client| {
            let txn = txn.clone();
            async move { client.txn(txn).await }
        });
        let answer = match claimed.await {
            Ok(answer) => answer,
            Err(Failure::InDoubt(reason)) => {
                tracing::debug!(reason, "asking again whether the election is won");
                tokio::time::sleep(RETRY_PAUSE).await;
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let at = header_revision(answer.header())?;
        if answer.succeeded() {
            return Ok(Claim::Won(at));
        }
        return Ok(match Election::read(&answer) {
            Some(election) if election.lease == lease => Claim::Won(election.created),
            _ => Claim::Led { at },
        });
    }
}

/// A lease that is revoked if nothing comes of it.
struct Pledge {
    endpoints: Arc<Endpoints>,
    lease: Option<i64>,
}

impl Pledge {
    fn keep(mut self) -> i64 {
        self.lease.take().unwrap_or_default()
    }
}

impl Drop for Pledge {
    fn drop(&mut self) {
        if let (Some(lease), Ok(runtime)) = (self.lease.take(), tokio::runtime::Handle::try_current()) {
            let endpoints = Arc::clone(&self.endpoints);
            runtime.spawn(async move { lease::revoke(&endpoints, lease).await });
        }
    }
}
