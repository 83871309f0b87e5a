//! One watch stream of etcd, which notices when nothing comes any more.

use std::time::Duration;

use etcd_client::{Event, KeyValue, ResponseHeader, WatchOptions, WatchResponse, WatchStream};

use crate::store::etcd::endpoints::{Endpoints, Member};
use crate::store::etcd::failure::Failure;

/// Silence after which etcd is asked for a sign of life, and silence after that with which the stream is given up.
const SILENCE: Duration = Duration::from_millis(1_000);
/// Largest message that is taken, in bytes. A watch that catches up gets up to 1,000 revisions in one.
const MAX_BATCH_BYTES: usize = 256 << 20;

/// What is watched.
pub(super) enum Scope {
    /// One key.
    Key(String),
    /// All keys that begin so.
    Prefix(String),
}

/// Why a stream ended.
pub(super) enum Ended {
    /// The revision that it was to begin at, or go on from, is no longer kept.
    Compacted,
    /// Anything else: another stream may do better.
    Broken(Failure),
}

/// What a stream brings.
pub(super) struct Batch {
    /// In the order of their revisions; those of one revision come together. None in a sign of life.
    pub(super) events: Vec<Event>,
    /// Everything up to this revision of etcd has come; 0 if that is not said.
    pub(super) complete: i64,
}

/// A stream of events, from a revision on.
pub(super) struct EventStream {
    member: Member,
    stream: WatchStream,
    /// etcd was asked for a sign of life and has not given one.
    asked: bool,
}

impl EventStream {
    /// Watches from a revision on.
    pub(super) async fn open(endpoints: &Endpoints, scope: Scope, start: i64) -> Result<Self, Failure> {
        let member = endpoints.member().await?;
        let options = WatchOptions::new().with_start_revision(start).with_progress_notify();
        let (key, options) = match scope {
            Scope::Key(key) => (key, options),
            Scope::Prefix(prefix) => (prefix, options.with_prefix()),
        };
        let mut client = member.client.watch_client().max_decoding_message_size(MAX_BATCH_BYTES);
        let opening = tokio::time::timeout(endpoints.timeout(), client.watch(key, Some(options)));
        let failure = match opening.await {
            Ok(Ok(stream)) => {
                return Ok(Self {
                    member,
                    stream,
                    asked: false,
                });
            }
            Ok(Err(error)) => Failure::from(error),
            Err(_) => Failure::silence(endpoints.timeout()),
        };
        endpoints.blame(&member, &failure);
        Err(failure)
    }

    /// What comes next.
    pub(super) async fn next(&mut self) -> Result<Batch, Ended> {
        let message = match tokio::time::timeout(SILENCE, self.stream.message()).await {
            Ok(message) => message.map_err(|error| Ended::Broken(error.into()))?,
            Err(_) if self.asked => return Err(Ended::Broken(Failure::silence(2 * SILENCE))),
            Err(_) => {
                self.asked = true;
                let asked = self.stream.request_progress().await;
                asked.map_err(|error| Ended::Broken(error.into()))?;
                return Ok(Batch {
                    events: Vec::new(),
                    complete: 0,
                });
            }
        };
        self.asked = false;
        let Some(message) = message else {
            return Err(Ended::Broken(Failure::InDoubt("etcd ended the watch".to_owned())));
        };
        if message.canceled() {
            return Err(cancelled(&message));
        }
        Ok(batch(&message))
    }

    /// The endpoint is at fault.
    pub(super) fn blame(&self, endpoints: &Endpoints, failure: &Failure) {
        endpoints.blame(&self.member, failure);
    }
}

fn batch(message: &WatchResponse) -> Batch {
    let events = message.events().to_vec();
    let complete = match events.last() {
        Some(last) => last.kv().map_or(0, KeyValue::mod_revision),
        // The answer to a request for a sign of life, which etcd gives when the watch has caught up.
        None if !message.created() => message.header().map_or(0, ResponseHeader::revision),
        None => 0,
    };
    Batch { events, complete }
}

fn cancelled(message: &WatchResponse) -> Ended {
    if message.compact_revision() > 0 {
        return Ended::Compacted;
    }
    Ended::Broken(Failure::Refused(format!(
        "etcd cancelled the watch: {}",
        message.cancel_reason()
    )))
}
