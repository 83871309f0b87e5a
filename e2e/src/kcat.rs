//! Debian's kcat behind [`crate::client::Client`]: the command line that people test a broker with first.
//!
//! kcat creates topics only by asking for them (`auto.create.topics.enable`), does not tell where a record went, has no
//! `max.poll.records` (librdkafka hands out one record at a time) and commits by itself.

use crate::client::{
    Assignor, Client, Close, Consumed, From, Line, Member, Membership, Pair, Seen, Settings, Told, wait_until,
};
use crate::setup;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Between key and value of a produced record; no test puts it in either.
const KEY_END: char = '\u{1}';
/// Format of a consumed record: partition, offset, length of the key (-1 for null), key, value.
const FORMAT: &str = "%p\t%o\t%K\t%k\t%s\n";

/// kcat against one broker.
pub struct Kcat {
    bootstrap: String,
}

impl Kcat {
    /// For the broker at `HOST:PORT`.
    pub fn new(bootstrap: &str) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
        }
    }

    fn command(&self, mode: &str, topic: &str) -> Command {
        let mut command = setup::kcat();
        command.args(["-b", &self.bootstrap, mode]);
        if mode != "-G" {
            command.args(["-t", topic]);
        }
        command
    }
}

impl Client for Kcat {
    fn create(&mut self, topic: &str, _partitions: i32) {
        let output = self.command("-L", topic).output().expect("kcat runs");
        assert!(
            output.status.success(),
            "kcat -L: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        // The first answer may still be "unknown topic": it is being created.
        wait_until("the topic that kcat asked for exists", Duration::from_secs(10), || {
            let output = self.command("-L", topic).output().expect("kcat runs");
            String::from_utf8_lossy(&output.stdout).contains("partition 0, leader")
        });
    }

    fn produce(&mut self, topic: &str, settings: Settings, records: &[Pair]) -> Option<Vec<(i32, i64)>> {
        // A record without a key needs a run without -K; runs of equal kind keep the order.
        for run in records.chunk_by(|a, b| a.0.is_some() == b.0.is_some()) {
            let mut command = self.command("-P", topic);
            command.args(["-z", settings.compression, "-X", &format!("acks={}", settings.acks)]);
            command.args(["-X", &format!("enable.idempotence={}", settings.idempotent)]);
            // As the Java client partitions: keyed records by murmur2, the others anywhere.
            command.args(["-X", "topic.partitioner=murmur2_random"]);
            if run[0].0.is_some() {
                command.args(["-K", &KEY_END.to_string()]);
            }
            let mut child = command
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("kcat runs");
            let mut stdin = child.stdin.take().expect("piped");
            for (key, value) in run {
                match key {
                    Some(key) => writeln!(stdin, "{key}{KEY_END}{value}"),
                    None => writeln!(stdin, "{value}"),
                }
                .expect("kcat reads");
            }
            drop(stdin);
            finish(child);
        }
        None
    }

    fn consume(&mut self, topic: &str, from: From, count: usize, _limit: usize, then_produce: &[Pair]) -> Consumed {
        let mut command = self.command("-C", topic);
        command.args(["-c", &count.to_string(), "-f", FORMAT]);
        match from {
            From::Earliest => command.args(["-o", "beginning"]),
            From::Latest => command.args(["-o", "end"]),
            From::Time(ms) => command.args(["-o", &format!("s@{ms}")]),
        };
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kcat runs");
        let mut notes = BufReader::new(child.stderr.take().expect("piped"));
        if !then_produce.is_empty() {
            // It says so once for each partition it stands at the end of.
            let mut line = String::new();
            for _ in 0..partitions_of(self, topic) {
                notes.read_line(&mut line).expect("kcat lives");
            }
            assert!(line.contains("Reached end of topic"), "kcat at the end says {line:?}");
            self.produce(topic, Settings::default(), then_produce);
        }
        std::thread::spawn(move || notes.read_to_string(&mut String::new()));
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let records = output
            .lines()
            .map(|l| parse(&l.expect("text")).expect("a record"))
            .collect();
        finish(child);
        Consumed {
            records,
            largest_poll: None,
        }
    }

    fn member(&self, m: &Membership) -> Member {
        assert!(m.auto_commit, "kcat commits by itself");
        let mut command = self.command("-G", &m.topic);
        command.args([m.group.as_str(), "-u", "-f", FORMAT]);
        command.args(["-X", &format!("session.timeout.ms={}", m.session_timeout.as_millis())]);
        command.args(["-X", "heartbeat.interval.ms=1000", "-X", "auto.commit.interval.ms=200"]);
        command.args(["-X", &format!("auto.offset.reset={}", m.reset)]);
        if let Some(instance) = m.instance {
            command.args(["-X", &format!("group.instance.id={instance}")]);
        }
        match m.assignor {
            Some(Assignor::Range) => command.args(["-X", "partition.assignment.strategy=range"]),
            Some(Assignor::Cooperative) => command.args(["-X", "partition.assignment.strategy=cooperative-sticky"]),
            None => &mut command,
        };
        command.arg(&m.topic);
        Member::start(command, Close::Terminate, read_line)
    }

    fn commits_manually(&self) -> bool {
        false
    }
}

fn partitions_of(kcat: &Kcat, topic: &str) -> usize {
    let output = kcat.command("-L", topic).output().expect("kcat runs");
    String::from_utf8_lossy(&output.stdout).matches(", leader ").count()
}

fn finish(child: Child) {
    let output = child.wait_with_output().expect("a child of ours");
    assert!(
        output.status.success(),
        "kcat ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

fn parse(line: &str) -> Option<Seen> {
    let mut fields = line.splitn(5, '\t');
    let partition = fields.next()?.parse().ok()?;
    let offset = fields.next()?.parse().ok()?;
    let key_length: i64 = fields.next()?.parse().ok()?;
    let key = fields.next()?.to_owned();
    let value = fields.next()?.to_owned();
    Some(Seen {
        partition,
        offset,
        key: (key_length >= 0).then_some(key),
        value,
    })
}

/// A record on stdout, or a note of a rebalance on stderr.
fn read_line(line: &str, told: &mut Told) {
    let said = parse(line).map(Line::Record).or_else(|| rebalance(line));
    said.into_iter().for_each(|said| told.hear(said));
}

/// `% Group g rebalanced (memberid m): assigned: t [0], t [1]`, or
/// `% Group g rebalanced: incremental assignment of 2 partition(s) (memberid m, ...): t [0], t [1]`.
fn rebalance(line: &str) -> Option<Line> {
    let list = |text: &str| -> Vec<i32> {
        text.split('[')
            .skip(1)
            .filter_map(|part| part.split(']').next()?.trim().parse().ok())
            .collect()
    };
    let after = |notes: [&str; 2]| notes.iter().find_map(|note| Some(line.split_once(note)?.1));
    if let Some(partitions) = after(["assigned:", "incremental assignment of "]) {
        return Some(Line::Assigned(list(partitions)));
    }
    Some(Line::Revoked(list(after(["revoked:", "incremental revoke of "])?)))
}
