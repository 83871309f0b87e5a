//! A member of a group that does nothing but stay: its heartbeats say whether the group still has the same generation.

use crate::raw::{group_id, text};
use crate::routed::Routed;
use anyhow::ensure;
use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{HeartbeatRequest, JoinGroupRequest, SyncGroupRequest};
use kafka_protocol::protocol::StrBytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const MEMBER_ID_REQUIRED: i16 = 79;
/// What a client asks again for: loading, not available, not here.
const RETRIABLE: [i16; 3] = [14, 15, 16];
const SESSION: Duration = Duration::from_secs(10);
const HEARTBEAT: Duration = Duration::from_millis(200);
const RETRY: Duration = Duration::from_millis(20);
/// How long a coordinator may be away before the member gives up.
const AWAY: Duration = Duration::from_secs(30);

/// The member, until it is asked what it saw.
pub struct LoneMember {
    stop: Arc<AtomicBool>,
    beats: Arc<AtomicU64>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl LoneMember {
    /// Joins a group of its own and sends heartbeats with the generation that it got.
    ///
    /// # Panics
    /// When it cannot join.
    pub fn join(bootstrap: &str, group: &str) -> Self {
        let mut seat = Seat {
            // Each of its requests is answered at once or not at all.
            raw: Routed::new(bootstrap).patience(Duration::from_secs(5)),
            group: group.to_owned(),
            member: text(""),
            generation: 0,
        };
        let deadline = Instant::now() + AWAY;
        while let Err(error) = seat.join() {
            assert!(
                Instant::now() < deadline,
                "the group {group} cannot be joined: {error:#}"
            );
            std::thread::sleep(RETRY);
        }
        let (stop, beats) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = {
            let (stop, beats) = (stop.clone(), beats.clone());
            std::thread::spawn(move || seat.stay(&stop, &beats))
        };
        Self { stop, beats, thread }
    }

    /// Fails when the group had another generation for a moment, and returns how many heartbeats were answered.
    ///
    /// # Panics
    /// With what was answered.
    pub fn check(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let stayed = self.thread.join().expect("the member's thread");
        stayed.expect("the generation is the same all the time");
        self.beats.load(Ordering::Relaxed)
    }
}

struct Seat {
    raw: Routed,
    group: String,
    member: StrBytes,
    generation: i32,
}

impl Seat {
    fn join(&mut self) -> anyhow::Result<()> {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("none"))
            .with_metadata(Bytes::new());
        let request = JoinGroupRequest::default()
            .with_group_id(group_id(&self.group))
            .with_session_timeout_ms(SESSION.as_millis() as i32)
            .with_rebalance_timeout_ms(SESSION.as_millis() as i32)
            .with_member_id(self.member.clone())
            .with_protocol_type(text("none"))
            .with_protocols(vec![protocol]);
        let joined = self.raw.any(|raw| raw.call(5, &request))?;
        if joined.error_code == MEMBER_ID_REQUIRED {
            self.member = joined.member_id;
            return self.join();
        }
        ensure!(
            joined.error_code == 0,
            "JoinGroup is answered by error {}",
            joined.error_code
        );
        self.generation = joined.generation_id;
        let assignment = SyncGroupRequestAssignment::default().with_member_id(self.member.clone());
        let request = SyncGroupRequest::default()
            .with_group_id(group_id(&self.group))
            .with_generation_id(self.generation)
            .with_member_id(self.member.clone())
            .with_assignments(vec![assignment]);
        let synced = self.raw.any(|raw| raw.call(3, &request))?;
        ensure!(
            synced.error_code == 0,
            "SyncGroup is answered by error {}",
            synced.error_code
        );
        Ok(())
    }

    fn stay(mut self, stop: &AtomicBool, beats: &AtomicU64) -> anyhow::Result<()> {
        let request = HeartbeatRequest::default()
            .with_group_id(group_id(&self.group))
            .with_generation_id(self.generation)
            .with_member_id(self.member.clone());
        let mut answered = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            // A broker that is gone or does not find the coordinator yet is no answer; any other word is.
            let pause = match self
                .raw
                .any(|raw| raw.call(3, &request))
                .map(|answer| answer.error_code)
            {
                Ok(0) => {
                    answered = Instant::now();
                    beats.fetch_add(1, Ordering::Relaxed);
                    HEARTBEAT
                }
                Ok(code) if !RETRIABLE.contains(&code) => {
                    anyhow::bail!(
                        "a heartbeat of generation {} is answered by error {code}",
                        self.generation
                    )
                }
                _ => RETRY,
            };
            ensure!(answered.elapsed() < AWAY, "no heartbeat is answered for {AWAY:?}");
            std::thread::sleep(pause);
        }
        Ok(())
    }
}
