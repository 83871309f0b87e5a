//! Apache Kafka's console producer and consumer behind [`crate::client::Client`].
//!
//! They do not tell where a record went nor how many records a poll returned, and the consumer commits by itself or not
//! at all. It has no option for a time: `kafka-get-offsets` tells the offsets to start at. Members of groups are processes
//! of their own; all other runs share one JVM, as a start takes longer than most of them.

use crate::client::{
    Assignor, Client, Close, Consumed, Driver, From, Line, Member, Membership, Pair, Seen, Settings, Told, wait_until,
};
use crate::setup;
use serde_json::json;
use std::process::Command;
use std::time::Duration;

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";
const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";

/// Between key and value of a produced record; no test puts it in either.
const KEY_END: char = '\u{1}';
/// What the consumer writes for a key that is null.
const NO_KEY: &str = "\u{2}";
/// What the consumer writes of a record: `Partition:P Offset:O KEY VALUE`, with tabs.
const FORMAT: [&str; 4] = [
    "print.partition=true",
    "print.offset=true",
    "print.key=true",
    "null.literal=\u{2}",
];

/// The console tools against one cluster.
pub struct Console {
    bootstrap: String,
    tools: Driver,
}

impl Console {
    /// For the brokers at `HOST:PORT`s.
    pub fn new(bootstrap: &str) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
            tools: Driver::java(bootstrap),
        }
    }

    /// Runs a tool to its end and returns its stdout.
    fn tool(&mut self, class: &str, args: &[&str], input: &str) -> String {
        let args: Vec<&str> = ["--bootstrap-server", &self.bootstrap]
            .into_iter()
            .chain(args.iter().copied())
            .collect();
        let answer = self
            .tools
            .call(&json!({"do": "tool", "class": class, "args": args, "input": input}));
        assert_eq!(answer["status"], 0, "{class} {args:?}: {answer}");
        answer["out"].as_str().expect("its stdout").to_owned()
    }

    /// Reads `count` records and no more.
    fn read(&mut self, from: &[&str], count: usize, limit: usize) -> Vec<Seen> {
        let count = count.to_string();
        let limit = format!("max.poll.records={limit}");
        let mut args = vec![
            "--max-messages",
            &count,
            "--timeout-ms",
            "30000",
            "--command-property",
            &limit,
        ];
        args.extend(from);
        args.extend(FORMAT.iter().flat_map(|property| ["--formatter-property", property]));
        let out = self.tool(CONSUMER, &args, "");
        out.lines()
            .map(|line| parse(line).unwrap_or_else(|| panic!("no record: {line:?}")))
            .collect()
    }

    /// Offsets of all partitions at a time, in milliseconds; `None` where there is no record from then on. -1 is the end.
    fn offsets(&mut self, topic: &str, time: i64) -> Vec<(i32, Option<i64>)> {
        let time = time.to_string();
        let out = self.tool(OFFSETS, &["--topic", topic, "--time", &time], "");
        let line = |line: &str| {
            let mut fields = line.rsplit(':');
            let offset = fields.next().and_then(|offset| offset.parse().ok());
            let partition = fields.next().and_then(|partition| partition.parse().ok());
            (partition.unwrap_or_else(|| panic!("no offset: {line:?}")), offset)
        };
        out.lines().map(line).collect()
    }

    /// A consumer as a process, with properties of its own.
    fn consumer(&self, topic: &str, properties: &[String]) -> Member {
        let mut command: Command = setup::java_with_log(CONSUMER);
        command.args(["--bootstrap-server", &self.bootstrap, "--topic", topic]);
        for property in FORMAT {
            command.args(["--formatter-property", property]);
        }
        for property in properties {
            command.args(["--command-property", property]);
        }
        Member::start(command, Close::Terminate, read_line)
    }

    /// Reads what is produced once a consumer stands at the end.
    fn read_from_the_end(&mut self, topic: &str, then_produce: &[Pair]) -> Vec<Seen> {
        let mut member = self.consumer(topic, &[]);
        let partitions = self.offsets(topic, -1).len();
        wait_until("the consumer stands at the end", Duration::from_secs(30), || {
            let at_end = |line: &&String| line.contains("Resetting offset for partition");
            member.told(|told| told.lines.iter().filter(at_end).count()) == partitions
        });
        self.produce(topic, Settings::default(), then_produce);
        wait_until("the consumer reads on", Duration::from_secs(30), || {
            member.told(|told| told.seen.len() >= then_produce.len())
        });
        member.close();
        member.told(|told| told.seen.iter().map(|(_, seen)| seen.clone()).collect())
    }
}

impl Client for Console {
    fn create(&mut self, topic: &str, partitions: i32) {
        self.tool(
            TOPICS,
            &["--create", "--topic", topic, "--partitions", &partitions.to_string()],
            "",
        );
    }

    fn produce(&mut self, topic: &str, settings: Settings, records: &[Pair]) -> Option<Vec<(i32, i64)>> {
        let idempotence = format!("enable.idempotence={}", settings.idempotent);
        let separator = format!("key.separator={KEY_END}");
        // A record without a key needs a run without keys; runs of equal kind keep the order.
        for run in records.chunk_by(|a, b| a.0.is_some() == b.0.is_some()) {
            let mut args = vec!["--topic", topic, "--request-required-acks", settings.acks];
            args.extend([
                "--compression-codec",
                settings.compression,
                "--command-property",
                &idempotence,
            ]);
            if run[0].0.is_some() {
                args.extend(["--reader-property", "parse.key=true", "--reader-property", &separator]);
            }
            let lines = run.iter().map(|(key, value)| match key {
                Some(key) => format!("{key}{KEY_END}{value}\n"),
                None => format!("{value}\n"),
            });
            self.tool(PRODUCER, &args, &lines.collect::<String>());
        }
        None
    }

    fn consume(&mut self, topic: &str, from: From, count: usize, limit: usize, then_produce: &[Pair]) -> Consumed {
        let records = match from {
            From::Earliest => self.read(&["--topic", topic, "--from-beginning"], count, limit),
            From::Latest => self.read_from_the_end(topic, then_produce),
            From::Time(time) => {
                let ends = self.offsets(topic, -1);
                let mut records = Vec::new();
                for ((partition, start), (_, end)) in self.offsets(topic, time).into_iter().zip(ends) {
                    // From there to the end: a partition without a record from then on has nothing to read.
                    let (Some(start), Some(end)) = (start, end) else {
                        continue;
                    };
                    let (partition, offset) = (partition.to_string(), start.to_string());
                    let from = ["--topic", topic, "--partition", &partition, "--offset", &offset];
                    records.extend(self.read(&from, (end - start) as usize, limit));
                }
                records
            }
        };
        Consumed {
            records,
            largest_poll: None,
        }
    }

    fn member(&self, m: &Membership) -> Member {
        assert!(m.auto_commit, "the console consumer commits by itself");
        let mut properties = vec![
            format!("group.id={}", m.group),
            format!("session.timeout.ms={}", m.session_timeout.as_millis()),
            format!("max.poll.records={}", m.max_poll_records),
            format!("auto.offset.reset={}", m.reset),
            "heartbeat.interval.ms=1000".to_owned(),
            "enable.auto.commit=true".to_owned(),
            "auto.commit.interval.ms=200".to_owned(),
        ];
        properties.extend(m.instance.map(|instance| format!("group.instance.id={instance}")));
        properties.extend(m.assignor.map(|assignor| {
            let class = match assignor {
                Assignor::Range => "RangeAssignor",
                Assignor::Cooperative => "CooperativeStickyAssignor",
            };
            format!("partition.assignment.strategy=org.apache.kafka.clients.consumer.{class}")
        }));
        self.consumer(&m.topic, &properties)
    }

    fn commits_manually(&self) -> bool {
        false
    }
}

fn parse(line: &str) -> Option<Seen> {
    let mut fields = line.splitn(4, '\t');
    let partition = fields.next()?.strip_prefix("Partition:")?.parse().ok()?;
    let offset = fields.next()?.strip_prefix("Offset:")?.parse().ok()?;
    let key = fields.next()?;
    let value = fields.next()?.to_owned();
    Some(Seen {
        partition,
        offset,
        key: (key != NO_KEY).then(|| key.to_owned()),
        value,
    })
}

/// A record on stdout, or a line of the client's log on stderr.
fn read_line(line: &str, told: &mut Told) {
    let said = parse(line).map(Line::Record).or_else(|| rebalance(line));
    said.into_iter().for_each(|said| told.hear(said));
}

fn rebalance(line: &str) -> Option<Line> {
    // `... Adding newly assigned partitions: [t-0, t-1] (name of the logger)`
    let list = |text: &str| -> Vec<i32> {
        let names = text.split(']').next().unwrap_or_default().split(", ");
        names.filter_map(|name| name.rsplit('-').next()?.parse().ok()).collect()
    };
    if let Some((_, partitions)) = line.split_once("Adding newly assigned partitions:") {
        return Some(Line::Assigned(list(partitions)));
    }
    let (_, partitions) = line.split_once(" previously assigned partitions ")?;
    Some(Line::Revoked(list(partitions)))
}
