//! The raw client for several brokers: each request goes to the broker that it is for, over a connection that is kept.

use crate::raw::{Producer, Raw, batch, group_id, topic_name};
use anyhow::{Context, ensure};
use kafka_protocol::messages::{DeleteTopicsRequest, DescribeGroupsRequest, InitProducerIdRequest, MetadataResponse};
use kafka_protocol::records::{BatchDecodeInfo, Record};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a new topic may take until every partition can be read.
const USABLE: Duration = Duration::from_secs(30);

/// Rest before the same is asked again.
const RETRY: Duration = Duration::from_millis(5);

/// Requests to whoever they are for.
pub struct Routed {
    bootstrap: Vec<String>,
    connections: HashMap<String, Raw>,
    patience: Option<Duration>,
}

impl Routed {
    /// `HOST:PORT`s, separated by commas. Connects when it has something to ask.
    pub fn new(bootstrap: &str) -> Self {
        Self {
            bootstrap: bootstrap.split(',').map(str::to_owned).collect(),
            connections: HashMap::new(),
            patience: None,
        }
    }

    /// Limits how long an answer may take.
    #[must_use]
    pub fn patience(mut self, limit: Duration) -> Self {
        self.patience = Some(limit);
        self
    }

    /// Asks the broker at this address; once more where the connection was an old one and turns out to be broken.
    ///
    /// # Errors
    /// Those of `ask`, and of connecting.
    pub fn at<T>(&mut self, address: &str, mut ask: impl FnMut(&mut Raw) -> anyhow::Result<T>) -> anyhow::Result<T> {
        if let Some(mut raw) = self.connections.remove(address) {
            match ask(&mut raw) {
                Ok(answer) => {
                    self.connections.insert(address.to_owned(), raw);
                    return Ok(answer);
                }
                Err(error) if !is_closed(&error) => return Err(error),
                Err(_) => {}
            }
        }
        let mut raw = Raw::connect(address)?;
        if let Some(limit) = self.patience {
            raw.set_patience(limit);
        }
        let answer = ask(&mut raw)?;
        // Only a connection whose request went well is known to be in step.
        self.connections.insert(address.to_owned(), raw);
        Ok(answer)
    }

    /// Asks any broker, one after the other until one answers.
    ///
    /// # Errors
    /// The last broker's.
    pub fn any<T>(&mut self, mut ask: impl FnMut(&mut Raw) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let mut last = anyhow::anyhow!("no broker");
        for address in self.bootstrap.clone() {
            match self.at(&address, &mut ask) {
                Ok(answer) => return Ok(answer),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Asks the leader of a partition.
    ///
    /// # Errors
    /// As [`Routed::at`], and when the partition has no leader.
    pub fn leader<T>(
        &mut self,
        topic: &str,
        partition: i32,
        ask: impl FnMut(&mut Raw) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let metadata = self.any(|raw| raw.metadata(topic))?;
        let address = leader_address(&metadata, partition)
            .with_context(|| format!("{topic}-{partition} has no leader that can be reached"))?;
        self.at(&address, ask)
    }

    /// Creates a topic with the cluster's replication factor and waits until every partition can be read.
    ///
    /// # Errors
    /// What the broker answered instead.
    pub fn create(&mut self, topic: &str, partitions: i32, configs: &[(&str, &str)]) -> anyhow::Result<()> {
        let (code, message) = self.any(|raw| raw.create_code(topic, partitions, -1, configs))?;
        ensure!(code == 0, "creating {topic} is answered by error {code}: {message:?}");
        let deadline = Instant::now() + USABLE;
        for partition in 0..partitions {
            while let Err(error) = self.fetch(topic, partition) {
                ensure!(
                    Instant::now() < deadline,
                    "{topic}-{partition} is not usable: {error:#}"
                );
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    }

    /// Deletes a topic and waits until no broker knows it any more.
    ///
    /// # Errors
    /// What the broker answered instead.
    pub fn delete(&mut self, topic: &str) -> anyhow::Result<()> {
        let request = DeleteTopicsRequest::default()
            .with_topic_names(vec![topic_name(topic)])
            .with_timeout_ms(20_000);
        let answer = self.any(|raw| raw.call(5, &request))?;
        let code = answer.responses.first().map_or(0, |r| r.error_code);
        ensure!(code == 0, "deleting {topic} is answered by error {code}");
        let deadline = Instant::now() + USABLE;
        for address in self.bootstrap.clone() {
            while self.at(&address, |raw| raw.partitions(topic))? > 0 {
                ensure!(Instant::now() < deadline, "{address} still knows {topic}");
                std::thread::sleep(RETRY);
            }
        }
        Ok(())
    }

    /// Produces one record with acks=all to the leader of a partition: error code and offset.
    ///
    /// # Errors
    /// As [`Routed::leader`].
    pub fn produce(&mut self, topic: &str, partition: i32, value: &str) -> anyhow::Result<(i16, i64)> {
        self.leader(topic, partition, |raw| {
            raw.produce(topic, partition, batch(&[(None, value)], Producer::NONE))
        })
    }

    /// Produces one record, again and again until it is acknowledged: its offset.
    ///
    /// # Panics
    /// When it is not within `limit`.
    pub fn produce_in(&mut self, topic: &str, partition: i32, value: &str, limit: Duration) -> i64 {
        let deadline = Instant::now() + limit;
        loop {
            let answer = self.produce(topic, partition, value);
            if let Ok((0, offset)) = answer {
                return offset;
            }
            assert!(
                Instant::now() < deadline,
                "{topic}-{partition} takes no record within {limit:?}: {answer:?}"
            );
            std::thread::sleep(RETRY);
        }
    }

    /// The same as an idempotent producer: however often it has to be sent, the record is there once.
    ///
    /// # Panics
    /// As [`Routed::produce_in`].
    pub fn produce_once_in(&mut self, topic: &str, partition: i32, value: &str, limit: Duration) -> i64 {
        let deadline = Instant::now() + limit;
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_producer_id((-1).into());
        let mut producer = None;
        loop {
            let answer = match producer {
                None => self.any(|raw| raw.call(4, &request)).map(|answer| {
                    producer = (answer.error_code == 0).then_some(Producer {
                        id: answer.producer_id.0,
                        epoch: answer.producer_epoch,
                        sequence: 0,
                    });
                    (answer.error_code, -1)
                }),
                Some(producer) => {
                    let records = batch(&[(None, value)], producer);
                    self.leader(topic, partition, |raw| raw.produce(topic, partition, records.clone()))
                }
            };
            match answer {
                Ok((0, offset)) if offset >= 0 => return offset,
                // The id is there: it is used at once.
                Ok((0, _)) => continue,
                _ => {}
            }
            assert!(
                Instant::now() < deadline,
                "{topic}-{partition} takes no record within {limit:?}: {answer:?}"
            );
            // Another leader, or controller, needs its time.
            std::thread::sleep(RETRY);
        }
    }

    /// Waits until every partition of the topic has so many in-sync replicas.
    ///
    /// # Panics
    /// When it does not within `limit`.
    pub fn wait_for_isr(&mut self, topic: &str, replicas: usize, limit: Duration) {
        let deadline = Instant::now() + limit;
        loop {
            let smallest = self.smallest_isr(topic);
            if smallest.as_ref().is_ok_and(|isr| *isr >= replicas) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{topic} has not {replicas} in-sync replicas within {limit:?}: {smallest:?}"
            );
            std::thread::sleep(RETRY);
        }
    }

    /// Whether a partition can be read: by a fetch from its start.
    ///
    /// # Errors
    /// As [`Raw::fetch`].
    pub fn fetch(&mut self, topic: &str, partition: i32) -> anyhow::Result<()> {
        self.leader(topic, partition, |raw| raw.fetch(topic, partition, 0).map(drop))
    }

    /// As [`Raw::partitions`].
    ///
    /// # Errors
    /// As [`Raw::call`].
    pub fn partitions(&mut self, topic: &str) -> anyhow::Result<i32> {
        self.any(|raw| raw.partitions(topic))
    }

    /// As [`Raw::offset`].
    ///
    /// # Errors
    /// As [`Raw::offset`].
    pub fn offset(&mut self, topic: &str, partition: i32, time: i64) -> anyhow::Result<i64> {
        self.leader(topic, partition, |raw| raw.offset(topic, partition, time))
    }

    /// As [`Raw::batches`].
    ///
    /// # Errors
    /// As [`Raw::fetch`].
    pub fn batches(&mut self, topic: &str, partition: i32) -> anyhow::Result<Vec<BatchDecodeInfo>> {
        self.leader(topic, partition, |raw| raw.batches(topic, partition))
    }

    /// As [`Raw::records`].
    ///
    /// # Errors
    /// As [`Raw::fetch`].
    pub fn records(&mut self, topic: &str, partition: i32) -> anyhow::Result<Vec<Record>> {
        self.leader(topic, partition, |raw| raw.records(topic, partition))
    }

    /// As [`Raw::committed`]: any broker knows.
    ///
    /// # Errors
    /// As [`Raw::committed`].
    pub fn committed(&mut self, group: &str, topic: &str, partitions: i32) -> anyhow::Result<Vec<i64>> {
        self.any(|raw| raw.committed(group, topic, partitions))
    }

    /// How many members a group has: any broker knows.
    ///
    /// # Errors
    /// As [`Raw::call`], and while the group's coordinator does not answer.
    pub fn members(&mut self, group: &str) -> anyhow::Result<usize> {
        let request = DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
        let answer = self.any(|raw| raw.call(5, &request))?;
        let described = answer.groups.first().context("no group in the answer")?;
        ensure!(
            described.error_code == 0,
            "describing {group} is answered by error {}",
            described.error_code
        );
        Ok(described.members.len())
    }

    /// `HOST:PORT` of a partition's leader.
    ///
    /// # Errors
    /// As [`Routed::leader`].
    pub fn leader_of(&mut self, topic: &str, partition: i32) -> anyhow::Result<String> {
        let metadata = self.any(|raw| raw.metadata(topic))?;
        leader_address(&metadata, partition).with_context(|| format!("{topic}-{partition} has no leader"))
    }

    /// The smallest number of in-sync replicas that a partition of the topic has.
    ///
    /// # Errors
    /// As [`Raw::call`], and when the topic has no partition.
    pub fn smallest_isr(&mut self, topic: &str) -> anyhow::Result<usize> {
        let metadata = self.any(|raw| raw.metadata(topic))?;
        let partitions = metadata.topics.iter().flat_map(|t| &t.partitions);
        let smallest = partitions
            .map(|p| if p.leader_id.0 < 0 { 0 } else { p.isr_nodes.len() })
            .min();
        smallest.with_context(|| format!("{topic} has no partition"))
    }
}

/// Whether the other end has closed the connection, as when its process was restarted.
fn is_closed(error: &anyhow::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    kind.is_some_and(|kind| [BrokenPipe, ConnectionReset, UnexpectedEof].contains(&kind))
}

/// `HOST:PORT` of a partition's leader, if it has one.
pub fn leader_address(metadata: &MetadataResponse, partition: i32) -> Option<String> {
    let topic = metadata.topics.first()?;
    let found = topic.partitions.iter().find(|p| p.partition_index == partition)?;
    let broker = metadata.brokers.iter().find(|b| b.node_id == found.leader_id)?;
    Some(format!("{}:{}", broker.host, broker.port))
}
