import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.DescribeConfigsOptions;
import org.apache.kafka.clients.admin.GroupListing;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;

/**
 * Every call of Java's Admin that an administrator makes on a topic and on a group, with what it answered. The test
 * holds the expected values; an exception is answered by the name of its class.
 */
final class AdminCases {
    private final Admin admin;
    private final ObjectNode seen = Driver.JSON.createObjectNode();

    private AdminCases(Admin admin) {
        this.admin = admin;
    }

    /** {@code topic} does not exist yet; {@code group} has committed offset 3 of partition 0 of {@code topic}. */
    static ObjectNode run(String bootstrap, String topic, String group) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            AdminCases cases = new AdminCases(admin);
            cases.cluster();
            cases.topics(topic);
            cases.configs(topic);
            cases.records(topic, bootstrap);
            cases.groups(topic, group);
            cases.deletion(topic);
            return cases.seen;
        }
    }

    private static <T> T get(KafkaFuture<T> f) throws Exception {
        return f.get();
    }

    /** The simple name of the exception that the future ends with, or "none". */
    private static String error(KafkaFuture<?> f) throws InterruptedException {
        try {
            f.get();
            return "none";
        } catch (ExecutionException e) {
            return e.getCause().getClass().getSimpleName();
        }
    }

    private void cluster() throws Exception {
        Collection<Node> nodes = get(admin.describeCluster().nodes());
        seen.put("nodes", nodes.size());
        seen.put("cluster_id_length", get(admin.describeCluster().clusterId()).length());
        seen.put("controller_is_a_node", nodes.contains(get(admin.describeCluster().controller())));
    }

    private void topics(String topic) throws Exception {
        NewTopic wanted = new NewTopic(topic, 2, (short) 1).configs(Map.of("retention.ms", "7200000"));
        seen.put("create", error(admin.createTopics(List.of(wanted)).all()));
        seen.put("create_again", error(admin.createTopics(List.of(wanted)).all()));
        seen.put("create_bad_name", error(admin.createTopics(List.of(new NewTopic("a b", 1, (short) 1))).all()));
        seen.put("create_rf_9", error(admin.createTopics(List.of(new NewTopic(topic + "x", 1, (short) 9))).all()));
        seen.put("create_bad_config", error(admin.createTopics(List.of(
                new NewTopic(topic + "x", 1, (short) 1).configs(Map.of("retention.ms", "soon")))).all()));
        seen.put("listed", get(admin.listTopics().names()).contains(topic));
        seen.put("grow", error(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(4))).all()));
        seen.put("shrink", error(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all()));
        TopicDescription d = get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic);
        seen.put("partitions", d.partitions().size());
        seen.put("described_by_id", get(admin.describeTopics(
                org.apache.kafka.common.TopicCollection.ofTopicIds(List.of(d.topicId()))).allTopicIds())
                .get(d.topicId()).name().equals(topic));
        seen.put("describe_unknown", error(admin.describeTopics(List.of(topic + "-none")).allTopicNames()));
        List<Integer> nodes = get(admin.describeCluster().nodes()).stream().map(Node::id).toList();
        seen.put("log_dirs_with_topic", get(admin.describeLogDirs(nodes)
                .allDescriptions()).values().stream().flatMap(m -> m.values().stream())
                .anyMatch(l -> l.replicaInfos().containsKey(new TopicPartition(topic, 0))));
    }

    private void configs(String topic) throws Exception {
        ConfigResource r = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        seen.put("retention_at_create", entry(r, "retention.ms").value());
        seen.put("source_of_retention", entry(r, "retention.ms").source().name());
        seen.put("source_of_default", entry(r, "segment.bytes").source().name());
        seen.put("type_of_retention", entry(r, "retention.ms").type().name());
        seen.put("documented", entry(r, "retention.ms").documentation() != null);
        seen.put("set", error(alter(r, "segment.ms", "3600000", AlterConfigOp.OpType.SET)));
        seen.put("segment_ms", entry(r, "segment.ms").value());
        seen.put("set_bad", error(alter(r, "segment.ms", "x", AlterConfigOp.OpType.SET)));
        seen.put("set_unknown", error(alter(r, "no.such.config", "1", AlterConfigOp.OpType.SET)));
        seen.put("delete_config", error(alter(r, "segment.ms", "", AlterConfigOp.OpType.DELETE)));
        seen.put("segment_ms_after", entry(r, "segment.ms").value());
        seen.put("set_on_unknown_topic", error(alter(
                new ConfigResource(ConfigResource.Type.TOPIC, topic + "-none"), "segment.ms", "1000", AlterConfigOp.OpType.SET)));
        int broker = get(admin.describeCluster().controller()).id();
        ConfigResource b = new ConfigResource(ConfigResource.Type.BROKER, Integer.toString(broker));
        seen.put("node_id_is_described", entry(b, "node.id").value().equals(Integer.toString(broker)));
    }

    private KafkaFuture<Void> alter(ConfigResource r, String key, String value, AlterConfigOp.OpType op) {
        return admin.incrementalAlterConfigs(Map.of(r, List.of(new AlterConfigOp(new ConfigEntry(key, value), op)))).all();
    }

    private ConfigEntry entry(ConfigResource r, String key) throws Exception {
        DescribeConfigsOptions all = new DescribeConfigsOptions().includeDocumentation(true).includeSynonyms(true);
        Config c = get(admin.describeConfigs(List.of(r), all).all()).get(r);
        return c.get(key);
    }

    private void records(String topic, String bootstrap) throws Exception {
        ArrayNode ten = Driver.JSON.createArrayNode();
        for (int i = 0; i < 10; i++) {
            ten.add(Driver.JSON.createArrayNode().add("one key").add("v" + i));
        }
        ObjectNode c = Driver.JSON.createObjectNode().put("topic", topic);
        int p = Driver.produce(bootstrap, c, ten).get("placed").get(0).get(0).asInt();
        TopicPartition tp = new TopicPartition(topic, p);
        seen.put("earliest", offset(tp, OffsetSpec.earliest()));
        seen.put("latest", offset(tp, OffsetSpec.latest()));
        seen.put("max_timestamp", offset(tp, OffsetSpec.maxTimestamp()));
        seen.put("at_time_0", offset(tp, OffsetSpec.forTimestamp(0)));
        seen.put("at_the_end_of_time", offset(tp, OffsetSpec.forTimestamp(System.currentTimeMillis() + 3_600_000)));
        seen.put("delete_records", error(admin.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(4))).all()));
        seen.put("earliest_after", offset(tp, OffsetSpec.earliest()));
        seen.put("delete_records_beyond",
                error(admin.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(99))).all()));
        seen.put("partition", p);
    }

    private long offset(TopicPartition tp, OffsetSpec spec) throws Exception {
        ListOffsetsResultInfo i = get(admin.listOffsets(Map.of(tp, spec)).partitionResult(tp));
        return i.offset();
    }

    private void groups(String topic, String group) throws Exception {
        TopicPartition tp = new TopicPartition(topic, 0);
        Map<TopicPartition, OffsetAndMetadata> three = new HashMap<>();
        three.put(tp, new OffsetAndMetadata(3, "three"));
        three.put(new TopicPartition(topic, 1), new OffsetAndMetadata(0));
        seen.put("commit_by_admin", error(admin.alterConsumerGroupOffsets(group, three).all()));
        OffsetAndMetadata back = get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()).get(tp);
        seen.put("committed", back.offset());
        seen.put("committed_metadata", back.metadata());
        List<String> names = new ArrayList<>();
        for (GroupListing g : get(admin.listGroups().all())) {
            names.add(g.groupId());
        }
        seen.put("group_listed", names.contains(group));
        ConsumerGroupDescription d = get(admin.describeConsumerGroups(List.of(group)).all()).get(group);
        seen.put("group_state", d.groupState().name());
        seen.put("describe_unknown_group", error(admin.describeConsumerGroups(List.of(group + "-none")).all()));
        seen.put("delete_offset", error(admin.deleteConsumerGroupOffsets(group, Set.of(tp)).all()));
        seen.put("offset_after_delete",
                get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()).containsKey(tp));
        seen.put("delete_group", error(admin.deleteConsumerGroups(List.of(group)).all()));
        seen.put("delete_unknown_group", error(admin.deleteConsumerGroups(List.of(group + "-none")).all()));
    }

    private void deletion(String topic) throws Exception {
        seen.put("delete", error(admin.deleteTopics(List.of(topic)).all()));
        seen.put("delete_unknown", error(admin.deleteTopics(List.of(topic + "-none")).all()));
        long end = System.currentTimeMillis() + 10_000;
        while (get(admin.listTopics().names()).contains(topic) && System.currentTimeMillis() < end) {
            Thread.sleep(50);
        }
        seen.put("gone", !get(admin.listTopics().names()).contains(topic));
    }
}
