//! Real clients behind one interface, so that one scenario drives them all.
//!
//! A client is a process: a driver program that speaks the line protocol of `e2e/clients/README.md`, kcat
//! ([`crate::kcat`]) or Kafka's console tools ([`crate::console`]).

use crate::setup;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};

use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A record as a client is given it to send: key and value.
pub type Pair = (Option<String>, String);

/// How to produce.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// `0`, `1` or `all`.
    pub acks: &'static str,
    /// Whether the producer is idempotent.
    pub idempotent: bool,
    /// `none`, `gzip`, `snappy`, `lz4` or `zstd`.
    pub compression: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            acks: "all",
            idempotent: false,
            compression: "none",
        }
    }
}

/// Where to start reading.
#[derive(Clone, Copy, Debug)]
pub enum From {
    /// At the first record.
    Earliest,
    /// After the last record.
    Latest,
    /// At the first record with this time or a later one, in milliseconds since 1970.
    Time(i64),
}

/// A record as a client read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key.
    pub key: Option<String>,
    /// Its value.
    pub value: String,
}

/// What a read without a group brought.
pub struct Consumed {
    /// The records in the order they came.
    pub records: Vec<Seen>,
    /// The most records that one poll returned; `None` where the client has no setting for it.
    pub largest_poll: Option<usize>,
}

/// Who of a group gets which partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// Ranges of partitions; a rebalance takes all away first.
    Range,
    /// Kafka's cooperative-sticky.
    Cooperative,
}

/// Membership in a consumer group.
#[derive(Clone)]
pub struct Membership {
    /// The topic to subscribe to.
    pub topic: String,
    /// The group.
    pub group: String,
    /// `session.timeout.ms`.
    pub session_timeout: Duration,
    /// `max.poll.records`, where the client has it.
    pub max_poll_records: usize,
    /// Whether the library commits by itself, every 200 ms and when it closes; else the member commits after each poll.
    pub auto_commit: bool,
    /// `auto.offset.reset`.
    pub reset: &'static str,
    /// `group.instance.id` of a static member.
    pub instance: Option<&'static str>,
    /// Where it is not the one that the client takes by itself.
    pub assignor: Option<Assignor>,
}

impl Membership {
    /// One that starts at the first record and commits by itself.
    pub fn new(topic: &str, group: &str, session_timeout: Duration) -> Self {
        Self {
            topic: topic.to_owned(),
            group: group.to_owned(),
            session_timeout,
            max_poll_records: 50,
            auto_commit: true,
            reset: "earliest",
            instance: None,
            assignor: None,
        }
    }
}

/// What the scenario needs of a client.
pub trait Client {
    /// Creates a topic.
    fn create(&mut self, topic: &str, partitions: i32);
    /// Produces in order; partition and offset of each where the client tells.
    fn produce(&mut self, topic: &str, settings: Settings, records: &[Pair]) -> Option<Vec<(i32, i64)>>;
    /// Reads `count` records without a group; produces `then_produce` once it stands at its start.
    fn consume(&mut self, topic: &str, from: From, count: usize, limit: usize, then_produce: &[Pair]) -> Consumed;
    /// Starts a member of a group, a process of its own.
    fn member(&self, membership: &Membership) -> Member;
    /// Whether a member can commit by itself after each poll.
    fn commits_manually(&self) -> bool;
}

/// What a member has told so far.
#[derive(Default)]
pub struct Told {
    /// The partitions it owns.
    pub owned: BTreeSet<i32>,
    /// The partitions that were ever taken from it.
    pub revoked: BTreeSet<i32>,
    /// The records it read, each with the number of assignments before it.
    pub seen: Vec<(usize, Seen)>,
    /// How often it was told partitions.
    pub assignments: usize,
    /// The most records that one poll returned.
    pub largest_poll: usize,
    /// Whether it has left cleanly.
    pub closed: bool,
    /// All lines, for a failed test.
    pub lines: Vec<String>,
}

/// A line of a member that says something.
pub enum Line {
    /// It has read a record.
    Record(Seen),
    /// It has got these partitions.
    Assigned(Vec<i32>),
    /// These partitions were taken from it.
    Revoked(Vec<i32>),
}

impl Told {
    /// Takes a line in.
    pub fn hear(&mut self, line: Line) {
        match line {
            Line::Record(seen) => self.seen.push((self.assignments, seen)),
            Line::Assigned(partitions) => self.assign(partitions),
            Line::Revoked(partitions) => self.revoke(partitions),
        }
    }

    /// It has got these partitions.
    pub fn assign(&mut self, partitions: Vec<i32>) {
        self.owned.extend(partitions);
        self.assignments += 1;
    }

    /// These partitions were taken from it.
    pub fn revoke(&mut self, partitions: Vec<i32>) {
        self.owned.retain(|p| !partitions.contains(p));
        self.revoked.extend(partitions);
    }
}

/// A member of a group, as a process.
pub struct Member {
    child: Child,
    /// What it has told so far.
    pub told: Arc<Mutex<Told>>,
    close: Close,
}

/// How a member is asked to leave cleanly.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// By a byte on its stdin.
    Stdin,
    /// By SIGTERM.
    Terminate,
}

impl Member {
    /// Starts the process; `read` turns each line of its stdout and stderr into what it tells.
    pub fn start(mut command: Command, close: Close, read: fn(&str, &mut Told)) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let told = Arc::new(Mutex::new(Told::default()));
        let (out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        for stream in [Box::new(out) as Box<dyn std::io::Read + Send>, Box::new(err)] {
            let told = told.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let mut told = told.lock().expect("no reader panics");
                    read(&line, &mut told);
                    told.lines.push(line);
                }
            });
        }
        Self { child, told, close }
    }

    /// SIGKILL: no goodbye to the broker.
    pub fn kill9(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to leave and waits until it has ended.
    ///
    /// # Panics
    /// When it does not end cleanly in 20 s.
    pub fn close(&mut self) {
        match self.close {
            Close::Stdin => {
                let mut stdin = self.child.stdin.take().expect("it was not closed before");
                let _ = stdin.write_all(b"\n");
            }
            Close::Terminate => {
                let pid = rustix::process::Pid::from_child(&self.child);
                rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a child of ours");
            }
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.child.try_wait().expect("a child of ours").is_none() {
            assert!(
                Instant::now() < deadline,
                "the member does not leave: {:?}",
                self.lines()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        if self.close == Close::Stdin {
            wait_until("the member says that it closed", Duration::from_secs(2), || {
                self.told(|t| t.closed)
            });
        }
    }

    /// Looks at what it has told.
    pub fn told<T>(&self, look: impl FnOnce(&Told) -> T) -> T {
        look(&self.told.lock().expect("no reader panics"))
    }

    /// The last lines it wrote.
    pub fn lines(&self) -> Vec<String> {
        self.told(|t| t.lines[t.lines.len().saturating_sub(20)..].to_vec())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            eprintln!("---- the last lines of a member\n{}\n----", self.lines().join("\n"));
        }
    }
}

/// Waits until `done`, looking every 20 ms.
///
/// # Panics
/// When it is not done within `limit`.
pub fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A client that speaks the line protocol.
pub struct Driver {
    command: fn() -> Command,
    bootstrap: String,
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    polls_batches: bool,
}

impl Driver {
    /// Starts `command serve BOOTSTRAP`.
    pub fn start(command: fn() -> Command, bootstrap: &str) -> Self {
        let mut process = command();
        process
            .args(["serve", bootstrap])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = process.spawn().unwrap_or_else(|e| panic!("{process:?}: {e}"));
        let stdin = child.stdin.take().expect("piped");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        Self {
            command,
            bootstrap: bootstrap.to_owned(),
            child,
            stdin,
            stdout,
            polls_batches: true,
        }
    }

    /// Apache Kafka's Java clients.
    pub fn java(bootstrap: &str) -> Self {
        Self::start(setup::java_driver, bootstrap)
    }

    /// kafka-python.
    pub fn python(bootstrap: &str) -> Self {
        let command = || {
            let mut command = Command::new(setup::tool("python/bin/python"));
            command.arg(setup::root().join("e2e/clients/python/driver.py"));
            command
        };
        Self::start(command, bootstrap)
    }

    /// franz-go.
    pub fn franz_go(bootstrap: &str) -> Self {
        Self::start(|| Command::new(setup::tool("franz-go")), bootstrap)
    }

    /// The rdkafka crate; its polls return one record, it has no `max.poll.records`.
    pub fn rdkafka(binary: fn() -> Command, bootstrap: &str) -> Self {
        let mut driver = Self::start(binary, bootstrap);
        driver.polls_batches = false;
        driver
    }

    /// Sends one command and returns its answer.
    ///
    /// # Panics
    /// When the client reports an error.
    pub fn call(&mut self, command: &Value) -> Value {
        writeln!(self.stdin, "{command}").expect("the driver lives");
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("the driver lives");
        let answer: Value = serde_json::from_str(&line)
            .unwrap_or_else(|e| panic!("the driver answered {line:?} to {}: {e}", shorten(command)));
        if let Some(error) = answer.get("error") {
            panic!("the client reports {error} for {}", shorten(command));
        }
        answer
    }
}

fn shorten(command: &Value) -> String {
    let text = command.to_string();
    text.chars().take(300).collect()
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pairs(records: &[Pair]) -> Value {
    records.iter().map(|(k, v)| json!([k, v])).collect()
}

fn seen(record: &Value, key: usize) -> Seen {
    Seen {
        partition: record[0].as_i64().expect("a partition") as i32,
        offset: record[1].as_i64().expect("an offset"),
        key: record[key].as_str().map(str::to_owned),
        value: record[key + 1].as_str().expect("a value").to_owned(),
    }
}

impl Client for Driver {
    fn create(&mut self, topic: &str, partitions: i32) {
        self.call(&json!({"do": "create", "topic": topic, "partitions": partitions}));
    }

    fn produce(&mut self, topic: &str, settings: Settings, records: &[Pair]) -> Option<Vec<(i32, i64)>> {
        let answer = self.call(&json!({
            "do": "produce", "topic": topic, "acks": settings.acks, "idempotent": settings.idempotent,
            "compression": settings.compression, "records": pairs(records),
        }));
        let placed = answer["placed"].as_array().expect("placed");
        Some(
            placed
                .iter()
                .map(|p| (p[0].as_i64().expect("int") as i32, p[1].as_i64().expect("int")))
                .collect(),
        )
    }

    fn consume(&mut self, topic: &str, from: From, count: usize, limit: usize, then_produce: &[Pair]) -> Consumed {
        let from = match from {
            From::Earliest => json!("earliest"),
            From::Latest => json!("latest"),
            From::Time(ms) => json!(ms),
        };
        let mut command =
            json!({"do": "consume", "topic": topic, "from": from, "count": count, "max_poll_records": limit});
        if !then_produce.is_empty() {
            command["then_produce"] = pairs(then_produce);
        }
        let answer = self.call(&command);
        let records = answer["records"]
            .as_array()
            .expect("records")
            .iter()
            .map(|r| seen(r, 3))
            .collect();
        let largest = answer["largest_poll"].as_u64().map(|n| n as usize);
        Consumed {
            records,
            largest_poll: largest.filter(|_| self.polls_batches),
        }
    }

    fn member(&self, m: &Membership) -> Member {
        let mut settings = json!({
            "topic": m.topic, "group": m.group, "session_timeout_ms": m.session_timeout.as_millis() as u64,
            "max_poll_records": m.max_poll_records, "commit": if m.auto_commit { "auto" } else { "manual" },
            "reset": m.reset,
        });
        if let Some(instance) = m.instance {
            settings["instance"] = json!(instance);
        }
        if let Some(assignor) = m.assignor {
            settings["assignor"] = json!(match assignor {
                Assignor::Range => "range",
                Assignor::Cooperative => "cooperative",
            });
        }
        let mut command = (self.command)();
        command.args(["member", &self.bootstrap, &settings.to_string()]);
        Member::start(command, Close::Stdin, read_event)
    }

    fn commits_manually(&self) -> bool {
        true
    }
}

fn read_event(line: &str, told: &mut Told) {
    let Ok(event) = serde_json::from_str::<Value>(line) else {
        return;
    };
    let partitions = |v: &Value| {
        v.as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_i64)
            .map(|p| p as i32)
            .collect()
    };
    if let Some(list) = event.get("assigned") {
        told.assign(partitions(list));
    } else if let Some(list) = event.get("revoked") {
        told.revoke(partitions(list));
    } else if let Some(poll) = event.get("poll").and_then(Value::as_array) {
        let assignment = told.assignments;
        told.largest_poll = told.largest_poll.max(poll.len());
        told.seen.extend(poll.iter().map(|r| (assignment, seen(r, 2))));
    } else if event.get("closed").is_some() {
        told.closed = true;
    }
}
