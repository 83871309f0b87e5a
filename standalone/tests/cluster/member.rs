//! A member that is alone in its group, and works: heartbeats, commits and reads what it committed, without end. It comes
//! back with what clients come back with; anything else fails the test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use highwater_proto::kafka::messages::heartbeat::HeartbeatRequest;
use highwater_proto::kafka::messages::sync_group::SyncGroupRequest;
use highwater_proto::kafka::messages::sync_group::request::SyncGroupRequestAssignment;

use crate::client::Client;
use crate::cluster::LIMIT;

/// Errors after which clients look for the coordinator and try again.
const RETRIABLE: [i16; 3] = [14, 15, 16];
const PAUSE: Duration = Duration::from_millis(20);

pub struct Member {
    group: String,
    client: Client,
    generation: i32,
    id: String,
    offset: i64,
    longest: Duration,
}

/// A member at work on a thread of its own.
pub struct Working {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Member>,
}

impl Member {
    pub fn join(address: SocketAddr, group: &str) -> Self {
        let mut client = Client::connect(address);
        client.find_coordinator(group);
        let joined = client.join(group);
        assert_eq!(joined.error_code, 0);
        let mut member = Self {
            group: group.to_owned(),
            client,
            generation: joined.generation_id,
            id: joined.member_id.to_string(),
            offset: 0,
            longest: Duration::ZERO,
        };
        let sync = SyncGroupRequest {
            group_id: group.into(),
            generation_id: member.generation,
            member_id: member.id.as_str().into(),
            assignments: vec![SyncGroupRequestAssignment {
                member_id: member.id.as_str().into(),
                assignment: Bytes::from_static(b"all of it"),
                ..Default::default()
            }],
            ..Default::default()
        };
        member.retry("sync", |client| client.call(3, &sync).error_code);
        member
    }

    /// Tries until it succeeds, as clients do.
    fn retry(&mut self, what: &str, mut call: impl FnMut(&mut Client) -> i16) {
        let started = Instant::now();
        loop {
            match call(&mut self.client) {
                0 => break,
                error if RETRIABLE.contains(&error) => {
                    assert!(
                        started.elapsed() < LIMIT,
                        "{what} of {} fails for too long: {error}",
                        self.group
                    );
                    std::thread::sleep(PAUSE);
                }
                error => panic!("{what} of {}: error {error}", self.group),
            }
        }
        self.longest = self.longest.max(started.elapsed());
    }

    fn round(&mut self) {
        self.offset += 1;
        let (group, id, generation, offset) = (self.group.clone(), self.id.clone(), self.generation, self.offset);
        let beat = HeartbeatRequest {
            group_id: group.as_str().into(),
            generation_id: generation,
            member_id: id.as_str().into(),
            ..Default::default()
        };
        self.retry("heartbeat", |client| client.call(3, &beat).error_code);
        self.retry("commit", |client| client.commit(&group, generation, &id, "t", offset));
        assert_eq!(self.client.committed(&group, "t"), offset, "what was committed is read");
    }

    pub fn work(mut self) -> Working {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                self.round();
                std::thread::sleep(PAUSE);
            }
            // It is still the member that joined.
            self.round();
            self
        });
        Working { stop, thread }
    }
}

impl Working {
    /// What it did: rounds, and the longest time that one request took with all its retries.
    pub fn stop(self) -> (i64, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let member = self.thread.join().unwrap();
        (member.offset, member.longest)
    }
}
