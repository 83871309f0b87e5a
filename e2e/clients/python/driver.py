"""kafka-python behind the driver protocol of ../README.md."""

import json
import os
import select
import sys
import time

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import CommitFailedError, RebalanceInProgressError


def say(**line):
    print(json.dumps(line), flush=True)


def text(data):
    return None if data is None else data.decode()


def data(string):
    return None if string is None else string.encode()


def create(bootstrap, c):
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        admin.create_topics([NewTopic(c["topic"], c["partitions"], -1)])
    finally:
        admin.close()
    return {}


def produce(bootstrap, c, records):
    acks = c.get("acks", "all")
    compression = c.get("compression", "none")
    producer = KafkaProducer(
        bootstrap_servers=bootstrap,
        acks=acks if acks == "all" else int(acks),
        enable_idempotence=c.get("idempotent", False),
        compression_type=None if compression == "none" else compression,
        linger_ms=5,
    )
    try:
        sent = [producer.send(c["topic"], key=data(k), value=data(v)) for k, v in records]
        producer.flush(timeout=30)
        placed = [f.get(timeout=30) for f in sent]
    finally:
        producer.close(timeout=5)
    return {"placed": [[m.partition, m.offset if acks != "0" else -1] for m in placed]}


def position(consumer, partitions, start):
    if start == "latest":
        consumer.seek_to_end(*partitions)
    elif start == "earliest":
        consumer.seek_to_beginning(*partitions)
    else:
        found = consumer.offsets_for_times({tp: start for tp in partitions})
        for tp in partitions:
            if found[tp] is None:
                consumer.seek_to_end(tp)
            else:
                consumer.seek(tp, found[tp].offset)
    for tp in partitions:
        consumer.position(tp)


def consume(bootstrap, c):
    limit = c.get("max_poll_records", 500)
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, max_poll_records=limit)
    records, largest = [], 0
    try:
        partitions = [TopicPartition(c["topic"], p) for p in sorted(consumer.partitions_for_topic(c["topic"]))]
        consumer.assign(partitions)
        position(consumer, partitions, c["from"])
        if "then_produce" in c:
            produce(bootstrap, c, c["then_produce"])
        end = time.monotonic() + 30
        while len(records) < c["count"]:
            if time.monotonic() > end:
                raise TimeoutError(f"only {len(records)} records in 30 s")
            got = [r for batch in consumer.poll(timeout_ms=200).values() for r in batch]
            largest = max(largest, len(got))
            records += [[r.partition, r.offset, r.timestamp, text(r.key), text(r.value)] for r in got]
    finally:
        consumer.close()
    return {"records": records, "largest_poll": largest}


class Report(ConsumerRebalanceListener):
    def on_partitions_revoked(self, revoked):
        say(revoked=[tp.partition for tp in revoked])

    def on_partitions_assigned(self, assigned):
        say(assigned=[tp.partition for tp in assigned])


def member(bootstrap, c):
    auto = c["commit"] == "auto"
    assignor = {"range": RangePartitionAssignor, "cooperative": CooperativeStickyAssignor}.get(c.get("assignor"))
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=c["group"],
        auto_offset_reset=c["reset"],
        enable_auto_commit=auto,
        auto_commit_interval_ms=200,
        session_timeout_ms=c["session_timeout_ms"],
        heartbeat_interval_ms=1000,
        max_poll_records=c["max_poll_records"],
        group_instance_id=c.get("instance"),
        **({"partition_assignment_strategy": [assignor]} if assignor else {}),
    )
    # kafka-python 3.0.12 forgets a join that ends between two polls if only news of the topic's partitions asked for it:
    # its leader then has what it needs, `need_rejoin` turns false, and the answer to the join is never looked at. So the
    # partitions of what is subscribed are read before the first join: news of them come to those who have subscribed only.
    consumer.subscribe([c["topic"]], listener=Report())
    consumer.topics()
    while not select.select([sys.stdin], [], [], 0)[0]:
        got = [r for batch in consumer.poll(timeout_ms=1000).values() for r in batch]
        if not got:
            continue
        say(poll=[[r.partition, r.offset, text(r.key), text(r.value)] for r in got])
        if not auto:
            try:
                consumer.commit()
            except (CommitFailedError, RebalanceInProgressError) as e:
                print("commit refused:", e, file=sys.stderr)
    consumer.close()
    say(closed=True)


def serve(bootstrap):
    for line in sys.stdin:
        c = json.loads(line)
        try:
            if c["do"] == "create":
                answer = create(bootstrap, c)
            elif c["do"] == "produce":
                answer = produce(bootstrap, c, c["records"])
            elif c["do"] == "consume":
                answer = consume(bootstrap, c)
            else:
                raise ValueError(f"unknown command {c['do']}")
        except Exception as e:  # whatever the library raises is the answer
            answer = {"error": f"{type(e).__name__}: {e}"}
        say(**answer)


if __name__ == "__main__":
    if sys.argv[1] == "member":
        member(sys.argv[2], json.loads(sys.argv[3]))
        sys.stdout.flush()
        os._exit(0)
    serve(sys.argv[2])
