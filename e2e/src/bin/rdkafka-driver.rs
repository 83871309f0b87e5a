//! The rdkafka crate behind the driver protocol of `e2e/clients/README.md`.

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use serde_json::{Value, json};
use std::io::{BufRead, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

type Answer = Result<Value, Box<dyn std::error::Error>>;

const PATIENCE: Duration = Duration::from_secs(30);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", bootstrap] => serve(bootstrap),
        ["member", bootstrap, settings] => {
            if let Err(e) = member(bootstrap, settings) {
                say(&json!({"error": e.to_string()}));
            }
        }
        _ => eprintln!("rdkafka-driver serve HOST:PORT | rdkafka-driver member HOST:PORT JSON"),
    }
}

fn say(line: &Value) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

fn serve(bootstrap: &str) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let answer = serde_json::from_str(&line)
            .map_err(Into::into)
            .and_then(|c: Value| match c["do"].as_str() {
                Some("create") => create(bootstrap, &c),
                Some("produce") => produce(bootstrap, &c, &c["records"]),
                Some("consume") => consume(bootstrap, &c),
                _ => Err("unknown command".into()),
            });
        say(&answer.unwrap_or_else(|e| json!({"error": e.to_string()})));
    }
}

fn text(c: &Value, field: &str) -> String {
    c[field].as_str().unwrap_or_default().to_owned()
}

fn create(bootstrap: &str, c: &Value) -> Answer {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
    let topic = text(c, "topic");
    let partitions = c["partitions"].as_i64().ok_or("partitions")? as i32;
    let wanted = NewTopic::new(&topic, partitions, TopicReplication::Fixed(-1));
    let created = block_on(admin.create_topics([&wanted], &AdminOptions::new()))?;
    for result in created {
        result.map_err(|(topic, code)| format!("{topic}: {code}"))?;
    }
    Ok(json!({}))
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime of one thread").block_on(future)
}

/// Partition and offset of a delivered record, or why it was not.
type Place = Result<(i32, i64), String>;

/// Collects where each record went, by its number.
#[derive(Default)]
struct Deliveries(Mutex<Vec<(usize, Place)>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, index: Self::DeliveryOpaque) {
        let place = match result {
            Ok(m) => Ok((m.partition(), m.offset())),
            Err((e, _)) => Err(e.to_string()),
        };
        self.0.lock().expect("no holder panics").push((*index, place));
    }
}

fn produce(bootstrap: &str, c: &Value, records: &Value) -> Answer {
    let acks = c["acks"].as_str().unwrap_or("all");
    let producer: ThreadedProducer<Deliveries> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("acks", acks)
        .set(
            "enable.idempotence",
            c["idempotent"].as_bool().unwrap_or(false).to_string(),
        )
        .set("compression.type", c["compression"].as_str().unwrap_or("none"))
        .set("partitioner", "murmur2_random")
        .create_with_context(Deliveries::default())?;
    let (topic, records) = (text(c, "topic"), records.as_array().ok_or("records")?);
    for (index, record) in records.iter().enumerate() {
        let value = record[1].as_str().ok_or("a value")?;
        let mut message = BaseRecord::with_opaque_to(&topic, Box::new(index)).payload(value);
        if let Some(key) = record[0].as_str() {
            message = message.key(key);
        }
        producer.send::<str, str>(message).map_err(|(e, _)| e)?;
    }
    producer.flush(PATIENCE)?;
    let mut placed = std::mem::take(&mut *producer.context().0.lock().expect("no holder panics"));
    placed.sort_by_key(|p| p.0);
    if placed.len() != records.len() {
        return Err(format!("{} of {} records delivered", placed.len(), records.len()).into());
    }
    let places: Result<Vec<_>, String> = placed.into_iter().map(|p| p.1).collect();
    let shown = places?
        .into_iter()
        .map(|(p, o)| json!([p, if acks == "0" { -1 } else { o }]));
    Ok(json!({"placed": shown.collect::<Value>()}))
}

fn fields(m: &BorrowedMessage<'_>) -> (i32, i64, i64, Option<String>, String) {
    let string = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    let time = m.timestamp().to_millis().unwrap_or(-1);
    (
        m.partition(),
        m.offset(),
        time,
        m.key().map(string),
        m.payload().map(string).unwrap_or_default(),
    )
}

fn consume(bootstrap: &str, c: &Value) -> Answer {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "not joined")
        .set("enable.auto.commit", "false")
        .create()?;
    let topic = text(c, "topic");
    let metadata = consumer.fetch_metadata(Some(&topic), PATIENCE)?;
    let partitions: Vec<i32> = metadata.topics()[0].partitions().iter().map(|p| p.id()).collect();
    let mut start = TopicPartitionList::new();
    for partition in partitions {
        let (low, high) = consumer.fetch_watermarks(&topic, partition, PATIENCE)?;
        let offset = match (c["from"].as_str(), c["from"].as_i64()) {
            (Some("latest"), _) => high,
            (_, Some(time)) => {
                let mut asked = TopicPartitionList::new();
                asked.add_partition_offset(&topic, partition, Offset::Offset(time))?;
                let found = consumer.offsets_for_times(asked, PATIENCE)?;
                found.elements()[0]
                    .offset()
                    .to_raw()
                    .filter(|o| *o >= 0)
                    .unwrap_or(high)
            }
            _ => low,
        };
        start.add_partition_offset(&topic, partition, Offset::Offset(offset))?;
    }
    consumer.assign(&start)?;
    if c.get("then_produce").is_some() {
        produce(bootstrap, c, &c["then_produce"])?;
    }
    let (mut records, wanted) = (Vec::new(), c["count"].as_u64().ok_or("count")? as usize);
    let deadline = Instant::now() + PATIENCE;
    while records.len() < wanted {
        if Instant::now() > deadline {
            return Err(format!("only {} records in 30 s", records.len()).into());
        }
        if let Some(message) = consumer.poll(Duration::from_millis(200)) {
            records.push(json!(fields(&message?)));
        }
    }
    Ok(json!({"records": records, "largest_poll": 1}))
}

struct Report;

impl ClientContext for Report {}

impl ConsumerContext for Report {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(list) = rebalance {
            say(&json!({"revoked": list.elements().iter().map(|e| e.partition()).collect::<Vec<_>>()}));
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            say(&json!({"assigned": list.elements().iter().map(|e| e.partition()).collect::<Vec<_>>()}));
        }
    }
}

fn member(bootstrap: &str, settings: &str) -> Result<(), Box<dyn std::error::Error>> {
    let c: Value = serde_json::from_str(settings)?;
    let auto = c["commit"] == "auto";
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("group.id", text(&c, "group"))
        .set("session.timeout.ms", c["session_timeout_ms"].to_string())
        .set("heartbeat.interval.ms", "1000")
        .set("auto.offset.reset", text(&c, "reset"))
        .set("enable.auto.commit", auto.to_string())
        .set("auto.commit.interval.ms", "200");
    if let Some(instance) = c["instance"].as_str() {
        config.set("group.instance.id", instance);
    }
    match c["assignor"].as_str() {
        Some("range") => config.set("partition.assignment.strategy", "range"),
        Some(_) => config.set("partition.assignment.strategy", "cooperative-sticky"),
        None => &mut config,
    };
    let consumer: BaseConsumer<Report> = config.create_with_context(Report)?;
    consumer.subscribe(&[&text(&c, "topic")])?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read(&mut [0]);
        stopped.store(true, Ordering::Relaxed);
    });
    while !stop.load(Ordering::Relaxed) {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let (partition, offset, _, key, value) = fields(&message);
                say(&json!({"poll": [[partition, offset, key, value]]}));
                if !auto && let Err(e) = consumer.commit_message(&message, CommitMode::Sync) {
                    eprintln!("commit refused: {e}");
                }
            }
            Some(Err(e)) => eprintln!("poll: {e}"),
            None => {}
        }
    }
    drop(consumer);
    say(&json!({"closed": true}));
    Ok(())
}
