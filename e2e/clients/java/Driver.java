import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Apache Kafka's Java clients behind the driver protocol of ../README.md; {@code admin} is {@link AdminCases}, {@code tool} {@link Tools}. */
public final class Driver {
    static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] args) throws Exception {
        if (args[0].equals("member")) {
            member(args[1], JSON.readTree(args[2]));
            return;
        }
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            ObjectNode answer;
            try {
                answer = command(args[1], JSON.readTree(line));
            } catch (Exception e) {
                answer = JSON.createObjectNode().put("error", e.toString());
            }
            print(answer);
        }
    }

    static synchronized void print(JsonNode line) {
        System.out.println(line);
        System.out.flush();
    }

    static ObjectNode command(String bootstrap, JsonNode c) throws Exception {
        switch (c.get("do").asText()) {
            case "create":
                try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
                    NewTopic topic = new NewTopic(c.get("topic").asText(),
                            Optional.of(c.get("partitions").asInt()), Optional.empty());
                    admin.createTopics(List.of(topic)).all().get();
                }
                return JSON.createObjectNode();
            case "produce":
                return produce(bootstrap, c, c.get("records"));
            case "consume":
                return consume(bootstrap, c);
            case "admin":
                return AdminCases.run(bootstrap, c.get("topic").asText(), c.get("group").asText());
            case "tool":
                return Tools.run(c.get("class").asText(), c.get("args"), c.path("input").asText(""));
            default:
                throw new IllegalArgumentException("unknown command " + c);
        }
    }

    static ObjectNode produce(String bootstrap, JsonNode c, JsonNode records) throws Exception {
        Properties p = new Properties();
        p.put("bootstrap.servers", bootstrap);
        p.put("acks", c.path("acks").asText("all"));
        p.put("enable.idempotence", c.path("idempotent").asBoolean(false));
        p.put("compression.type", c.path("compression").asText("none"));
        p.put("linger.ms", 5);
        ArrayNode placed = JSON.createArrayNode();
        try (KafkaProducer<String, String> producer =
                new KafkaProducer<>(p, new StringSerializer(), new StringSerializer())) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (JsonNode r : records) {
                String key = r.get(0).isNull() ? null : r.get(0).asText();
                sent.add(producer.send(new ProducerRecord<>(c.get("topic").asText(), key, r.get(1).asText())));
            }
            producer.flush();
            for (Future<RecordMetadata> f : sent) {
                RecordMetadata m = f.get();
                placed.add(JSON.createArrayNode().add(m.partition()).add(m.hasOffset() ? m.offset() : -1));
            }
        }
        ObjectNode answer = JSON.createObjectNode();
        answer.set("placed", placed);
        return answer;
    }

    static Properties consumer(String bootstrap, JsonNode c) {
        Properties p = new Properties();
        p.put("bootstrap.servers", bootstrap);
        p.put("max.poll.records", c.path("max_poll_records").asInt(500));
        return p;
    }

    static ObjectNode consume(String bootstrap, JsonNode c) throws Exception {
        String topic = c.get("topic").asText();
        Properties p = consumer(bootstrap, c);
        p.put("enable.auto.commit", false);
        ArrayNode records = JSON.createArrayNode();
        int largest = 0;
        try (KafkaConsumer<String, String> consumer =
                new KafkaConsumer<>(p, new StringDeserializer(), new StringDeserializer())) {
            List<TopicPartition> all = new ArrayList<>();
            for (PartitionInfo i : consumer.partitionsFor(topic)) {
                all.add(new TopicPartition(topic, i.partition()));
            }
            consumer.assign(all);
            position(consumer, all, c.get("from"));
            for (TopicPartition tp : all) {
                consumer.position(tp);
            }
            if (c.has("then_produce")) {
                produce(bootstrap, c, c.get("then_produce"));
            }
            long end = System.currentTimeMillis() + 30_000;
            while (records.size() < c.get("count").asInt()) {
                if (System.currentTimeMillis() > end) {
                    throw new IllegalStateException("only " + records.size() + " records in 30 s");
                }
                ConsumerRecords<String, String> got = consumer.poll(Duration.ofMillis(200));
                largest = Math.max(largest, got.count());
                for (ConsumerRecord<String, String> r : got) {
                    records.add(JSON.createArrayNode().add(r.partition()).add(r.offset()).add(r.timestamp())
                            .add(r.key()).add(r.value()));
                }
            }
        }
        ObjectNode answer = JSON.createObjectNode().put("largest_poll", largest);
        answer.set("records", records);
        return answer;
    }

    static void position(KafkaConsumer<String, String> consumer, List<TopicPartition> all, JsonNode from) {
        if (from.isNumber()) {
            Map<TopicPartition, Long> times = new HashMap<>();
            all.forEach(tp -> times.put(tp, from.asLong()));
            Map<TopicPartition, OffsetAndTimestamp> found = consumer.offsetsForTimes(times);
            for (TopicPartition tp : all) {
                if (found.get(tp) == null) {
                    consumer.seekToEnd(List.of(tp));
                } else {
                    consumer.seek(tp, found.get(tp).offset());
                }
            }
        } else if (from.asText().equals("latest")) {
            consumer.seekToEnd(all);
        } else {
            consumer.seekToBeginning(all);
        }
    }

    static void member(String bootstrap, JsonNode c) throws Exception {
        boolean auto = c.get("commit").asText().equals("auto");
        Properties p = consumer(bootstrap, c);
        p.put("group.id", c.get("group").asText());
        p.put("auto.offset.reset", c.get("reset").asText());
        p.put("enable.auto.commit", auto);
        p.put("auto.commit.interval.ms", 200);
        p.put("session.timeout.ms", c.get("session_timeout_ms").asInt());
        p.put("heartbeat.interval.ms", 1000);
        if (c.has("instance")) {
            p.put("group.instance.id", c.get("instance").asText());
        }
        if (c.has("assignor")) {
            p.put("partition.assignment.strategy", c.get("assignor").asText().equals("range")
                    ? RangeAssignor.class.getName() : CooperativeStickyAssignor.class.getName());
        }
        try (KafkaConsumer<String, String> consumer =
                new KafkaConsumer<>(p, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of(c.get("topic").asText()), new Report());
            while (!stdinClosed()) {
                ConsumerRecords<String, String> got = consumer.poll(Duration.ofMillis(100));
                if (got.isEmpty()) {
                    continue;
                }
                ArrayNode poll = JSON.createArrayNode();
                for (ConsumerRecord<String, String> r : got) {
                    poll.add(JSON.createArrayNode().add(r.partition()).add(r.offset()).add(r.key()).add(r.value()));
                }
                ObjectNode line = JSON.createObjectNode();
                line.set("poll", poll);
                print(line);
                if (!auto) {
                    commit(consumer);
                }
            }
        }
        print(JSON.createObjectNode().put("closed", true));
    }

    /** A commit that a rebalance overtakes is not an error of the member: the records come again. */
    static void commit(KafkaConsumer<String, String> consumer) {
        try {
            consumer.commitSync();
        } catch (org.apache.kafka.clients.consumer.CommitFailedException
                | org.apache.kafka.common.errors.RebalanceInProgressException e) {
            System.err.println("commit refused: " + e);
        }
    }

    static boolean stdinClosed() throws Exception {
        // available() of a closed pipe stays 0: the harness writes one byte before it closes.
        return System.in.available() > 0;
    }

    static final class Report implements ConsumerRebalanceListener {
        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> gone) {
            event("revoked", gone);
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> got) {
            event("assigned", got);
        }

        private void event(String name, Collection<TopicPartition> partitions) {
            ArrayNode list = JSON.createArrayNode();
            partitions.forEach(tp -> list.add(tp.partition()));
            ObjectNode line = JSON.createObjectNode();
            line.set(name, list);
            print(line);
        }
    }

    private Driver() {}
}
