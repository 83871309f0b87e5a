use highwater_proto::kafka::messages::describe_topic_partitions::request;
use highwater_proto::metadata::NodeState;

use super::super::test_image::{LISTENER, TestImage};
use super::*;

/// Name, error and partitions of each topic, and the next cursor.
type Page = (Vec<(String, i16, Vec<i32>)>, Option<(String, i32)>);

fn page(names: &[&str], limit: i32, cursor: Option<(&str, i32)>) -> Page {
    let image = TestImage::new()
        .broker(1, NodeState::Active, &[LISTENER])
        .topic("b", 2, &[(Some(1), &[1]), (Some(1), &[1]), (None, &[1])])
        .topic("a", 1, &[(Some(1), &[1]), (Some(1), &[1])])
        .topic("c", 3, &[(Some(1), &[1])])
        .build();
    let topic = |name: &&str| request::TopicRequest {
        name: ByteStr::from(*name),
        ..Default::default()
    };
    let request = DescribeTopicPartitionsRequest {
        topics: names.iter().map(topic).collect(),
        response_partition_limit: limit,
        cursor: cursor.map(|(name, partition)| request::Cursor {
            topic_name: ByteStr::from(name),
            partition_index: partition,
            ..Default::default()
        }),
        ..Default::default()
    };
    let answer = describe(&image, LISTENER, 4, &request);
    let row = |topic: &DescribeTopicPartitionsResponseTopic| {
        let partitions = topic.partitions.iter().map(|p| p.partition_index).collect();
        (
            topic.name.as_deref().unwrap_or_default().to_owned(),
            topic.error_code,
            partitions,
        )
    };
    let next = answer
        .next_cursor
        .map(|c| (c.topic_name.to_string(), c.partition_index));
    (answer.topics.iter().map(row).collect(), next)
}

fn row(name: &str, error: i16, partitions: &[i32]) -> (String, i16, Vec<i32>) {
    (name.to_owned(), error, partitions.to_vec())
}

#[test]
fn rule_108_topics_come_in_the_order_of_their_names_page_by_page() {
    let (first, next) = page(&[], 2_000, None);
    assert_eq!(
        first,
        [row("a", 0, &[0, 1]), row("b", 0, &[0, 1])],
        "the broker's limit counts"
    );
    assert_eq!(next, Some(("b".to_owned(), 2)));
    let (second, next) = page(&[], 2_000, Some(("b", 2)));
    assert_eq!((second, next), (vec![row("b", 0, &[2]), row("c", 0, &[0])], None));
    let (one, next) = page(&["c", "a"], 0, None);
    assert_eq!(
        (one, next),
        (vec![row("a", 0, &[0])], Some(("a".to_owned(), 1))),
        "at least one partition"
    );
    let (exact, next) = page(&["c", "a"], 2, None);
    assert_eq!((exact, next), (vec![row("a", 0, &[0, 1])], Some(("c".to_owned(), 0))));
}

#[test]
fn unknown_topics_are_named_unless_all_were_asked_for() {
    let (topics, next) = page(&["a", "bad name", "x"], 10, None);
    assert_eq!(
        (topics, next),
        (
            vec![row("a", 0, &[0, 1]), row("bad name", 17, &[]), row("x", 3, &[])],
            None
        )
    );
    let (topics, _) = page(&[], 10, Some(("bb", 5)));
    assert_eq!(topics, [row("c", 0, &[0])], "the cursor's topic may be gone");
}

#[test]
fn rule_108_a_cursor_outside_of_the_list_is_refused() {
    assert_eq!(page(&["a"], 10, Some(("b", 0))).0, [row("a", 42, &[])]);
    assert_eq!(page(&["a"], 10, Some(("a", -1))).0, [row("a", 42, &[])]);
}
