//! A member that is alone in its group, and works: heartbeats, commits and reads what it committed, without end. It comes
//! back with what clients come back with, over another broker when one closes its connection; anything else fails the test.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use highwater_proto::kafka::messages::heartbeat::HeartbeatRequest;
use highwater_proto::kafka::messages::sync_group::SyncGroupRequest;
use highwater_proto::kafka::messages::sync_group::request::SyncGroupRequestAssignment;

use crate::client::{Client, commit, offset_fetch};
use crate::cluster::LIMIT;

/// Errors after which clients look for the coordinator and try again.
const RETRIABLE: [i16; 3] = [14, 15, 16];
const PAUSE: Duration = Duration::from_millis(20);

/// Where clients connect: the brokers that run.
pub type Addresses = Arc<Mutex<Vec<SocketAddr>>>;

pub struct Member {
    group: String,
    addresses: Addresses,
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
    /// Over the broker with this number among the addresses.
    pub fn join(addresses: &Addresses, broker: usize, group: &str) -> Self {
        let address = addresses.lock().unwrap()[broker];
        let mut client = Client::connect(address);
        client.find_coordinator(group);
        let joined = client.join(group);
        assert_eq!(joined.error_code, 0);
        let mut member = Self {
            group: group.to_owned(),
            addresses: Arc::clone(addresses),
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
        member.retry("sync", |client| Some((client.try_call(3, &sync)?.error_code, ())));
        member
    }

    /// Tries until it succeeds, as clients do. A call answers nothing when its connection is closed.
    fn retry<T>(&mut self, what: &str, mut call: impl FnMut(&mut Client) -> Option<(i16, T)>) -> T {
        let started = Instant::now();
        loop {
            match call(&mut self.client) {
                Some((0, answer)) => {
                    self.longest = self.longest.max(started.elapsed());
                    return answer;
                }
                Some((error, _)) if RETRIABLE.contains(&error) => std::thread::sleep(PAUSE),
                Some((error, _)) => panic!("{what} of {}: error {error}", self.group),
                None => self.reconnect(),
            }
            assert!(started.elapsed() < LIMIT, "{what} of {} fails for too long", self.group);
        }
    }

    fn reconnect(&mut self) {
        let addresses = self.addresses.lock().unwrap().clone();
        match addresses.into_iter().find_map(Client::try_connect) {
            Some(client) => self.client = client,
            None => std::thread::sleep(PAUSE),
        }
    }

    fn round(&mut self) {
        self.offset += 1;
        let beat = HeartbeatRequest {
            group_id: self.group.as_str().into(),
            generation_id: self.generation,
            member_id: self.id.as_str().into(),
            ..Default::default()
        };
        let commit = commit(&self.group, self.generation, &self.id, "t", self.offset);
        let fetch = offset_fetch(&self.group, "t");
        self.retry("heartbeat", |client| Some((client.try_call(3, &beat)?.error_code, ())));
        self.retry("commit", |client| {
            let answer = client.try_call(7, &commit)?;
            Some((answer.topics[0].partitions[0].error_code, ()))
        });
        let read = self.retry("fetch", |client| {
            let answer = client.try_call(5, &fetch)?;
            let partition = answer.topics.first().map(|topic| topic.partitions[0].committed_offset);
            Some((answer.error_code, partition))
        });
        assert_eq!(read, Some(self.offset), "what was committed is read");
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
