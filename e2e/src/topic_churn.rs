//! Topics that come and go while a broker crashes: one whose creation was acknowledged is there afterwards, with the record
//! that was acknowledged, and one whose deletion was acknowledged does not come back.

use crate::raw::{Producer, Raw, batch, topic_name};
use anyhow::{Context, bail, ensure};
use kafka_protocol::messages::DeleteTopicsRequest;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Topics that are there at a time.
const KEPT: usize = 4;
/// Deleted topics that are looked for.
const REMEMBERED: usize = 16;
/// Between two topics, and between two tries to reach the broker.
const PAUSE: Duration = Duration::from_millis(15);
/// A new topic's partition may answer that it has no leader yet.
const USABLE: Duration = Duration::from_secs(20);
const UNKNOWN_TOPIC: i16 = 3;

/// A topic whose creation was acknowledged.
struct Kept {
    name: String,
    /// Records that were acknowledged: none or one.
    records: i64,
}

/// What was acknowledged.
#[derive(Default)]
pub struct Acknowledged {
    kept: VecDeque<Kept>,
    deleted: VecDeque<String>,
    created: u64,
}

/// A thread that creates topics and deletes them, until it is dropped.
pub struct TopicChurn {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    acknowledged: Arc<Mutex<Acknowledged>>,
}

impl TopicChurn {
    /// Starts with the first topic at once.
    pub fn start(bootstrap: &str) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Acknowledged>>::default());
        let (stopping, noted, bootstrap) = (stop.clone(), acknowledged.clone(), bootstrap.to_owned());
        let thread = std::thread::spawn(move || {
            let mut number = 0;
            while !stopping.load(Ordering::Relaxed) {
                // Where the broker is down; what was asked then is in doubt and looked at no more.
                if let Ok(mut raw) = Raw::connect(&bootstrap) {
                    let mut one = |number| {
                        // Held while an answer is on its way: whoever takes it after kill -9 knows all that arrived.
                        noted
                            .lock()
                            .expect("no holder panics")
                            .come_and_go(&mut raw, &format!("churn-{number}"))
                    };
                    while !stopping.load(Ordering::Relaxed) {
                        number += 1;
                        if one(number).is_err() {
                            break;
                        }
                        std::thread::sleep(PAUSE);
                    }
                }
                std::thread::sleep(PAUSE);
            }
        });
        Self {
            stop,
            thread: Some(thread),
            acknowledged,
        }
    }

    /// What was acknowledged so far; nothing is asked while it is held.
    ///
    /// # Panics
    /// When another holder has panicked.
    pub fn acknowledged(&self) -> MutexGuard<'_, Acknowledged> {
        self.acknowledged.lock().expect("no holder panics")
    }
}

impl Drop for TopicChurn {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Acknowledged {
    fn come_and_go(&mut self, raw: &mut Raw, name: &str) -> anyhow::Result<()> {
        let (code, message) = raw.create_code(name, 1, 1, &[])?;
        ensure!(code == 0, "creating {name} is answered by error {code}: {message:?}");
        self.created += 1;
        self.kept.push_back(Kept {
            name: name.to_owned(),
            records: 0,
        });
        let deadline = Instant::now() + USABLE;
        while raw.produce(name, 0, batch(&[(None, name)], Producer::NONE))?.0 != 0 {
            ensure!(Instant::now() < deadline, "{name} cannot be written after {USABLE:?}");
            // Nobody is told when the partition has its leader.
            std::thread::sleep(Duration::from_millis(5));
        }
        if let Some(kept) = self.kept.back_mut() {
            kept.records = 1;
        }
        if self.kept.len() > KEPT
            && let Some(Kept { name, .. }) = self.kept.pop_front()
        {
            let request = DeleteTopicsRequest::default()
                .with_topic_names(vec![topic_name(&name)])
                .with_timeout_ms(20_000);
            let answer = raw.call(5, &request)?;
            let code = answer.responses.first().context("one topic was named")?.error_code;
            ensure!(code == 0, "deleting {name} is answered by error {code}");
            self.deleted.push_back(name);
            if self.deleted.len() > REMEMBERED {
                self.deleted.pop_front();
            }
        }
        Ok(())
    }

    /// By folder (`topic-partition`), the offset below which records were acknowledged.
    pub fn ends(&self) -> impl Iterator<Item = (String, i64)> + '_ {
        let written = self.kept.iter().filter(|kept| kept.records > 0);
        written.map(|kept| (format!("{}-0", kept.name), kept.records))
    }

    /// How many topics were created.
    pub fn created(&self) -> u64 {
        self.created
    }

    /// Whether all of it is true of a broker that was started again.
    ///
    /// # Errors
    /// What is not.
    pub fn check(&self, raw: &mut Raw) -> anyhow::Result<()> {
        for Kept { name, records } in &self.kept {
            let deadline = Instant::now() + USABLE;
            let found = loop {
                match raw.records(name, 0) {
                    Ok(found) => break found.len() as i64,
                    // The broker has only just started: its partitions may not be led yet.
                    Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
                    Err(error) => bail!("{name} was created, and now: {error:#}"),
                }
            };
            ensure!(found >= *records, "{name} had an acknowledged record, and now none");
        }
        for name in &self.deleted {
            let answer = raw.metadata(name)?;
            let code = answer.topics.first().map_or(UNKNOWN_TOPIC, |topic| topic.error_code);
            ensure!(
                code == UNKNOWN_TOPIC,
                "{name} was deleted, and now error {code} is answered"
            );
        }
        Ok(())
    }
}
