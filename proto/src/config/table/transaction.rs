//! Idempotent and transactional producers.

use super::prelude::*;

pub(super) const DEFINITIONS: &[Definition] = definitions! {
    "add.partitions.to.txn.retry.backoff.max.ms": Int = Some("100"), AtLeast(0), High, ReadOnly, TRANSACTIONS,
        "Longest rest before the broker adds a partition to a transaction again.";
    "add.partitions.to.txn.retry.backoff.ms": Int = Some("20"), AtLeast(1), High, ReadOnly, TRANSACTIONS,
        "First rest before the broker adds a partition to a transaction again.";
    "producer.id.expiration.ms": Int = Some("86400000"), AtLeast(1), Low, ClusterWide, IMPLEMENTED,
        "A partition forgets an idempotent producer that wrote nothing for this long.";
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": Int = Some("10000"), AtLeast(1), Low, ReadOnly, TRANSACTIONS,
        "How often timed-out transactions are looked for.";
    "transaction.max.timeout.ms": Int = Some("900000"), AtLeast(1), High, ReadOnly, TRANSACTIONS,
        "Longest timeout that a producer may ask for.";
    "transaction.partition.verification.enable": Boolean = Some("true"), Any, Low, ClusterWide, TRANSACTIONS,
        "Whether a partition asks the coordinator before it takes the first batch of a transaction.";
    "transaction.remove.expired.transaction.cleanup.interval.ms": Int = Some("3600000"), AtLeast(1), Low, ReadOnly, TRANSACTIONS,
        "How often expired transactional ids are looked for.";
    "transaction.state.log.load.buffer.size": Int = Some("5242880"), AtLeast(1), High, ReadOnly, TRANSACTIONS,
        "Bytes that are read at a time when transaction state is loaded.";
    "transaction.state.log.min.isr": Int = Some("2"), AtLeast(1), High, ReadOnly, TRANSACTION_TOPIC,
        "In-sync replicas that a write to the transaction topic needs.";
    "transaction.state.log.num.partitions": Int = Some("50"), AtLeast(1), High, ReadOnly, TRANSACTION_TOPIC,
        "Partitions of the transaction topic.";
    "transaction.state.log.replication.factor": Short = Some("3"), AtLeast(1), High, ReadOnly, TRANSACTION_TOPIC,
        "Replicas of the transaction topic.";
    "transaction.state.log.segment.bytes": Int = Some("104857600"), AtLeast(1), High, ReadOnly, TRANSACTION_TOPIC,
        "Segment size of the transaction topic.";
    "transaction.two.phase.commit.enable": Boolean = Some("false"), Any, Low, ReadOnly, TRANSACTIONS,
        "Whether producers may keep a prepared transaction open without a timeout.";
    "transactional.id.expiration.ms": Int = Some("604800000"), AtLeast(1), High, ReadOnly, TRANSACTIONS,
        "A transactional id that was not used for this long is forgotten.";
};
