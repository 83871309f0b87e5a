//! The lease of the active controller: renewed a few times per life, given up by this process' own clock when that does
//! not succeed, and revoked as soon as the leadership is over.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::store::etcd::endpoints::Endpoints;
use crate::store::etcd::failure::Failure;
use crate::store::etcd::held::Held;
use crate::store::etcd::keys::Keys;

/// Pause after a renewal that failed.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Keeps the lease until the leadership is lost or given back, then revokes it.
pub(super) async fn keep(endpoints: Arc<Endpoints>, keys: Keys, held: Arc<Held>, ttl: Duration) {
    let ended = tokio::select! {
        () = held.lost.cancelled() => false,
        ended = renew(&endpoints, &keys, &held, ttl) => ended,
    };
    held.lost.cancel();
    if !ended {
        revoke(&endpoints, held.lease).await;
    }
    held.released.cancel();
}

/// Renews until that is too late or of no use. True: the lease has ended.
async fn renew(endpoints: &Endpoints, keys: &Keys, held: &Held, ttl: Duration) -> bool {
    let interval = ttl / 5;
    loop {
        // By the deadline this is over, whatever the request does.
        let round = tokio::time::timeout_at(held.deadline(), async {
            tokio::time::sleep(interval).await;
            loop {
                let asked = Instant::now();
                let alive = |mut client: etcd_client::Client| async move {
                    client.lease_keep_alive(held.lease).await.map(|_| ())
                };
                match endpoints.once(ttl / 6, alive).await {
                    Ok(()) => return Ok(asked),
                    Err(Failure::LeaseEnded) => return Err(Failure::LeaseEnded),
                    Err(failure) => tracing::debug!(reason = %failure, "the lease was not renewed"),
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        });
        match round.await {
            Ok(Ok(asked)) => held.renewed(asked),
            Ok(Err(_)) => {
                tracing::warn!("the lease of the active controller has ended");
                return true;
            }
            Err(_) => {
                tracing::warn!(
                    ttl_ms = ttl.as_millis(),
                    "the lease of the active controller could not be renewed"
                );
                return false;
            }
        }
        // Time that passed while this process did not run counts too.
        if !held.is_ours() {
            return false;
        }
        if went_back(endpoints, keys, held, ttl / 6).await {
            tracing::error!("etcd has less than it had: was it restored from a backup?");
            return false;
        }
    }
}

/// True if etcd lacks what is known to have been there. A backup may well have the lease and the election key: nothing
/// else tells an active controller that its store is another one.
async fn went_back(endpoints: &Endpoints, keys: &Keys, held: &Held, within: Duration) -> bool {
    // Known before it is asked for: what is read is linearizable.
    let (newest, marker) = (held.newest(), keys.marker());
    let found = endpoints
        .once(within, |mut client| async move { client.get(marker, None).await })
        .await;
    match found {
        Ok(found) => found.kvs().first().map_or(0, etcd_client::KeyValue::mod_revision) < newest,
        Err(failure) => {
            tracing::debug!(reason = %failure, "it was not found out whether etcd has what it had");
            false
        }
    }
}

/// Ends a lease, and with it the keys that hang on it. What cannot be revoked ends by itself.
pub(super) async fn revoke(endpoints: &Endpoints, lease: i64) {
    let revoked = endpoints.repeat(|mut client| async move { client.lease_revoke(lease).await });
    match revoked.await {
        Ok(_) | Err(Failure::LeaseEnded) => {}
        Err(failure) => tracing::debug!(reason = %failure, "a lease was not revoked"),
    }
}
