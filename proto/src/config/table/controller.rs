//! Identity, and Apache Kafka's metadata quorum.

use super::prelude::*;

pub(super) const DEFINITIONS: &[Definition] = definitions! {
    "broker.id": Int = Some("-1"), Any, High, ReadOnly, IMPLEMENTED,
        "Older name of `node.id`; if both are set they must agree.";
    "controller.listener.names": List = None, Any, High, ReadOnly, KRAFT,
        "Names of the listeners that belong to Apache Kafka's controllers; listeners of these names are not opened.";
    "controller.quorum.append.linger.ms": Int = Some("25"), AtLeast(0), Medium, ReadOnly, KRAFT,
        "How long Apache Kafka's controller collects metadata records before it writes them.";
    "controller.quorum.auto.join.enable": Boolean = Some("false"), Any, Low, ReadOnly, KRAFT,
        "Whether a controller of Apache Kafka adds itself to the voters.";
    "controller.quorum.bootstrap.servers": List = Some(""), Any, High, ReadOnly, IMPLEMENTED,
        "Where brokers and coordinators find the controllers: a list of host:port of their gRPC. `highwater`, which is its own controller, leaves it aside.";
    "controller.quorum.election.backoff.max.ms": Int = Some("1000"), AtLeast(0), High, ReadOnly, KRAFT,
        "Longest rest between elections of Apache Kafka's quorum.";
    "controller.quorum.election.timeout.ms": Int = Some("1000"), AtLeast(0), High, ReadOnly, KRAFT,
        "How long an election of Apache Kafka's quorum may take.";
    "controller.quorum.fetch.max.bytes": Int = Some("1048576"), AtLeast(1), Low, ReadOnly, KRAFT,
        "Bytes of metadata that one fetch of Apache Kafka's quorum returns.";
    "controller.quorum.fetch.snapshot.max.bytes": Int = Some("1048576"), AtLeast(1), Low, ReadOnly, KRAFT,
        "Bytes of a metadata snapshot that one fetch of Apache Kafka's quorum returns.";
    "controller.quorum.fetch.timeout.ms": Int = Some("2000"), AtLeast(0), High, ReadOnly, KRAFT,
        "Silence after which Apache Kafka's quorum elects anew.";
    "controller.quorum.request.timeout.ms": Int = Some("2000"), AtLeast(0), Medium, ReadOnly, KRAFT,
        "Longest wait for an answer inside Apache Kafka's quorum.";
    "controller.quorum.retry.backoff.ms": Int = Some("20"), AtLeast(0), Low, ReadOnly, KRAFT,
        "Rest before a request of Apache Kafka's quorum is sent again.";
    "controller.quorum.voters": List = Some(""), Any, High, ReadOnly, KRAFT,
        "The fixed members of Apache Kafka's quorum.";
    "metadata.log.dir": String = None, Any, High, ReadOnly, KRAFT,
        "Directory of Apache Kafka's metadata log.";
    "metadata.log.max.record.bytes.between.snapshots": Long = Some("20971520"), AtLeast(1), High, ReadOnly, KRAFT,
        "Bytes of metadata records between two snapshots of Apache Kafka's metadata log.";
    "metadata.log.max.snapshot.interval.ms": Long = Some("3600000"), AtLeast(0), High, ReadOnly, KRAFT,
        "Time between two snapshots of Apache Kafka's metadata log.";
    "metadata.log.segment.bytes": Int = Some("1073741824"), AtLeast(8_388_608), High, ReadOnly, KRAFT,
        "Segment size of Apache Kafka's metadata log.";
    "metadata.log.segment.ms": Long = Some("604800000"), Any, High, ReadOnly, KRAFT,
        "Segment age of Apache Kafka's metadata log.";
    "metadata.max.idle.interval.ms": Int = Some("500"), AtLeast(0), Low, ReadOnly, KRAFT,
        "How often an idle controller of Apache Kafka writes a no-op record.";
    "metadata.max.retention.bytes": Long = Some("104857600"), Any, High, ReadOnly, KRAFT,
        "Bytes of old metadata that Apache Kafka keeps.";
    "metadata.max.retention.ms": Long = Some("604800000"), Any, High, ReadOnly, KRAFT,
        "Age of old metadata that Apache Kafka keeps.";
    "node.id": Int = None, AtLeast(0), High, ReadOnly, IMPLEMENTED,
        "Number of this node, unique in the cluster. Unset, the controller gives the next free one at the first start.";
    "process.roles": List = None, Any, High, ReadOnly, KRAFT,
        "Which of broker and controller a process of Apache Kafka is. The binary decides this here.";
};
