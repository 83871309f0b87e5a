use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::{Offset, ProducerId, TopicId};

use super::harness::*;
use crate::group::*;

#[test]
fn rule_83_a_commit_without_membership_creates_a_simple_group() {
    let mut h = Harness::new();
    for group in ["g", ""] {
        let stranger = OffsetCommit {
            member_id: "stranger".into(),
            ..commit(group, "t", 5)
        };
        assert_eq!(h.commit(stranger), ErrorCode::None, "the member id does not matter");
        assert_eq!(h.committed(group, "t"), 5);
        assert_eq!(h.state(group), "Empty");
    }
    assert_eq!(h.commit(commit("g", "t", 3)), ErrorCode::None);
    assert_eq!(h.committed("g", "t"), 3, "the last write wins, also backwards");
}

#[test]
fn rule_83_members_and_generations_are_checked() {
    let mut h = Harness::new();
    assert_eq!(h.commit(commit_as("none", "t", 1, "m", 1)), ErrorCode::GroupIdNotFound);
    let before_9 = OffsetCommit {
        unknown_group_error: ErrorCode::IllegalGeneration,
        ..commit_as("none", "t", 1, "m", 1)
    };
    assert_eq!(h.commit(before_9), ErrorCode::IllegalGeneration);
    assert!(!h.exists("none"));

    let ids = h.stable("g", &[member("g"), member("g")]);
    assert_eq!(h.commit(commit("g", "t", 1)), ErrorCode::UnknownMemberId);
    assert_eq!(
        h.commit(commit_as("g", "t", 1, "nobody", 9)),
        ErrorCode::UnknownMemberId
    );
    assert_eq!(
        h.commit(commit_as("g", "t", 1, &ids[0], 9)),
        ErrorCode::IllegalGeneration
    );
    assert_eq!(h.commit(commit_as("g", "t", 1, &ids[0], 1)), ErrorCode::None);
    let fenced = OffsetCommit {
        instance_id: Some("i".into()),
        ..commit_as("g", "t", 1, &ids[0], 1)
    };
    assert_eq!(h.commit(fenced), ErrorCode::UnknownMemberId);

    let leader = h.join(rejoin(&member("g"), &ids[0]));
    assert_eq!(
        h.commit(commit_as("g", "t", 2, &ids[1], 1)),
        ErrorCode::None,
        "while a rebalance is prepared"
    );
    let follower = h.join(rejoin(&member("g"), &ids[1]));
    assert_eq!((h.joined(leader).generation, h.joined(follower).generation), (2, 2));
    assert_eq!(
        h.commit(commit_as("g", "t", 3, &ids[0], 2)),
        ErrorCode::RebalanceInProgress
    );
    assert_eq!(h.committed("g", "t"), 2);
}

#[test]
fn rule_83_commits_keep_the_session() {
    let mut h = Harness::new();
    let ids = h.stable("g", &[member("g")]);
    for offset in 0..5 {
        h.advance(SESSION - std::time::Duration::from_secs(1));
        assert_eq!(h.commit(commit_as("g", "t", offset, &ids[0], 1)), ErrorCode::None);
    }
}

#[test]
fn rule_83_too_long_a_text_fails_its_partition_only() {
    let mut h = Harness::new();
    let mut request = commit("g", "t", 1);
    let partition = |index, metadata: &str| CommitPartition {
        partition: index,
        offset: 7,
        leader_epoch: 3,
        metadata: metadata.into(),
        refused: None,
    };
    // Counted in UTF-16 units: 4096 of them are 12,288 bytes here.
    request.topics[0].partitions = vec![partition(0, &"\u{20AC}".repeat(4096)), partition(1, &"x".repeat(4097))];
    let token = h.send(Request::OffsetCommit(request));
    let Reply::OffsetCommit(topics) = h.reply(token) else {
        panic!()
    };
    let errors: Vec<_> = topics[0].partitions.iter().map(|partition| partition.error).collect();
    assert_eq!(errors, [ErrorCode::None, ErrorCode::OffsetMetadataTooLarge]);
    assert_eq!(h.log.len(), 1);
}

#[test]
fn rule_142_unknown_partitions_fail_alone_and_a_group_error_hits_the_others() {
    let mut h = Harness::new();
    let mut request = commit("g", "t", 1);
    let refused = CommitPartition {
        partition: 9,
        refused: Some(ErrorCode::UnknownTopicOrPartition),
        ..request.topics[0].partitions[0].clone()
    };
    request.topics[0].partitions.push(refused);
    let outcomes = |h: &mut Harness, request: OffsetCommit| {
        let token = h.send(Request::OffsetCommit(request));
        let Reply::OffsetCommit(topics) = h.reply(token) else {
            panic!()
        };
        topics[0]
            .partitions
            .iter()
            .map(|partition| partition.error)
            .collect::<Vec<_>>()
    };
    use ErrorCode::{GroupIdNotFound, None as Ok, UnknownTopicOrPartition as Unknown};
    let as_member = OffsetCommit {
        generation: 1,
        ..request.clone()
    };
    assert_eq!(outcomes(&mut h, as_member.clone()), [GroupIdNotFound, Unknown]);
    assert_eq!(outcomes(&mut h, request), [Ok, Unknown]);
    let mut nothing_known = as_member;
    nothing_known.topics[0].partitions.remove(0);
    assert_eq!(
        outcomes(&mut h, nothing_known),
        [Unknown],
        "the group is not even asked"
    );
}

#[test]
fn rule_80_a_commit_too_large_to_store_is_refused_whole() {
    let mut h = Harness::with(GroupConfig {
        max_append_bytes: 100,
        ..GroupConfig::default()
    });
    let mut request = commit("g", "t", 1);
    request.topics[0].partitions[0].metadata = "x".repeat(200).into();
    assert_eq!(h.commit(request), ErrorCode::UnknownServerError);
    assert!(h.log.is_empty() && !h.exists("g"));
}

#[test]
fn rule_84_unknown_groups_and_partitions_read_as_minus_one() {
    let mut h = Harness::new();
    assert_eq!(h.committed("none", "t"), -1);
    h.commit(commit("g", "t", 5));
    assert_eq!(h.committed("g", "other"), -1);
    let all = |group: &str| {
        Request::OffsetFetch(OffsetFetch {
            groups: vec![FetchGroup {
                group_id: group.into(),
                topics: None,
            }],
            require_stable: true,
        })
    };
    let token = h.send(all("none"));
    let Reply::OffsetFetch(groups) = h.reply(token) else {
        panic!()
    };
    assert_eq!((groups[0].error, groups[0].topics.len()), (ErrorCode::None, 0));
    let token = h.send(all("g"));
    let Reply::OffsetFetch(groups) = h.reply(token) else {
        panic!()
    };
    assert_eq!(
        (&*groups[0].topics[0].name, groups[0].topics[0].partitions[0].offset),
        ("t", 5)
    );
}

#[test]
fn what_is_named_again_is_answered_again_but_not_without_bound() {
    let mut h = Harness::new();
    let mut request = commit("g", "t", 5);
    request.topics[0].partitions[0].metadata = "x".repeat(4_096).into();
    h.commit(request);
    h.commit(commit("g", "plain", 6));
    let mut fetched = |topics: Vec<FetchTopic>| {
        let token = h.send(Request::OffsetFetch(OffsetFetch {
            groups: vec![FetchGroup {
                group_id: "g".into(),
                topics: Some(topics),
            }],
            require_stable: false,
        }));
        let Reply::OffsetFetch(mut groups) = h.reply(token) else {
            panic!()
        };
        let topics = groups.remove(0).topics.into_iter();
        topics.flat_map(|topic| topic.partitions).collect::<Vec<_>>()
    };
    let of = |name: &str, times: usize| FetchTopic {
        name: name.into(),
        partitions: vec![0; times],
    };
    let some = fetched(vec![of("t", 5), of("plain", 3), of("t", 5)]);
    let (text, none): (Vec<_>, Vec<_>) = some.iter().partition(|it| it.metadata.len() == 4_096);
    assert_eq!((text.len(), none.len()), (10, 3));
    assert!(some.iter().all(|it| it.error == ErrorCode::None));

    for many in [vec![of("t", 100_000)], vec![of("t", 1); 100_000]] {
        let many = fetched(many);
        let bytes: usize = many.iter().map(|it| it.metadata.len()).sum();
        assert!((1 << 20..2 << 20).contains(&bytes), "{bytes}");
        let last = many.last().unwrap();
        assert_eq!(
            (many.len(), last.error, last.offset),
            (100_000, ErrorCode::InvalidRequest, -1)
        );
    }
    let plain = fetched(vec![of("plain", 100_000)]);
    assert!(plain.iter().all(|it| it.error == ErrorCode::None && it.offset == 6));
}

#[test]
fn rule_84_an_offset_of_another_topic_of_that_name_does_not_count() {
    let mut h = Harness::new();
    let id = h.create_topic("t", 1);
    let mut request = commit("g", "t", 5);
    request.topics[0].topic_id = id;
    h.commit(request);
    assert_eq!(h.committed("g", "t"), 5);
    let other = {
        let mut image = Harness::new();
        image.create_topic("t", 1);
        image.image
    };
    h.image = other;
    assert_eq!(h.committed("g", "t"), -1);
}

#[test]
fn rule_86_offsets_of_a_subscribed_topic_cannot_be_deleted() {
    let mut h = Harness::new();
    let ids = h.stable("g", &[member("g")]);
    h.commit(commit_as("g", "t", 5, &ids[0], 1));
    h.commit(commit_as("g", "old", 6, &ids[0], 1));
    let delete = |group: &str| {
        let partition = |refused| DeletePartition { partition: 0, refused };
        let topic = |name: &str, refused| DeleteTopic {
            name: name.into(),
            partitions: vec![partition(refused)],
        };
        let unknown = Some(ErrorCode::UnknownTopicOrPartition);
        Request::OffsetDelete(OffsetDelete {
            group_id: group.into(),
            topics: vec![topic("t", None), topic("old", None), topic("none", unknown)],
        })
    };
    let token = h.send(delete("g"));
    let Reply::OffsetDelete(reply) = h.reply(token) else {
        panic!()
    };
    let errors: Vec<_> = reply.topics.iter().map(|topic| topic.partitions[0].error).collect();
    use ErrorCode::{GroupSubscribedToTopic, UnknownTopicOrPartition};
    assert_eq!(
        errors,
        [GroupSubscribedToTopic, ErrorCode::None, UnknownTopicOrPartition]
    );
    assert_eq!((h.committed("g", "t"), h.committed("g", "old")), (5, -1));
    h.reload();
    assert_eq!((h.committed("g", "t"), h.committed("g", "old")), (5, -1));

    let token = h.send(delete("none"));
    let Reply::OffsetDelete(reply) = h.reply(token) else {
        panic!()
    };
    assert_eq!(reply.error, ErrorCode::GroupIdNotFound);
    let connect = JoinGroup {
        protocol_type: "connect".into(),
        ..member("c")
    };
    h.stable("c", &[connect]);
    let token = h.send(delete("c"));
    let Reply::OffsetDelete(reply) = h.reply(token) else {
        panic!()
    };
    assert_eq!((reply.error, reply.topics.len()), (ErrorCode::NonEmptyGroup, 0));
}

#[test]
fn rule_73_single_offsets_of_the_empty_group_cannot_be_deleted() {
    let mut h = Harness::new();
    h.commit(commit("", "t", 5));
    let partitions = vec![DeletePartition {
        partition: 0,
        refused: None,
    }];
    let token = h.send(Request::OffsetDelete(OffsetDelete {
        group_id: "".into(),
        topics: vec![DeleteTopic {
            name: "t".into(),
            partitions,
        }],
    }));
    let Reply::OffsetDelete(reply) = h.reply(token) else {
        panic!()
    };
    assert_eq!((reply.error, reply.topics.len()), (ErrorCode::InvalidGroupId, 0));
    assert_eq!(h.committed("", "t"), 5);
}

#[test]
fn rule_84_each_group_of_a_fetch_is_answered_with_what_it_asks_for() {
    let mut h = Harness::new();
    h.commit(commit("g", "t", 5));
    h.commit(commit("g", "u", 6));
    let all = FetchGroup {
        group_id: "g".into(),
        topics: None,
    };
    let one = |name: &str| FetchGroup {
        topics: Some(vec![FetchTopic {
            name: name.into(),
            partitions: vec![0],
        }]),
        ..all.clone()
    };
    let token = h.send(Request::OffsetFetch(OffsetFetch {
        groups: vec![one("t"), one("u"), all.clone(), one("t")],
        require_stable: false,
    }));
    let Reply::OffsetFetch(groups) = h.reply(token) else {
        panic!()
    };
    let offsets = |group: &FetchedGroup| {
        let topics = group.topics.iter();
        topics.map(|topic| topic.partitions[0].offset).sum::<i64>()
    };
    let sums: Vec<_> = groups.iter().map(offsets).collect();
    assert_eq!(sums, [5, 6, 11, 5]);
}

/// The key and value of a commit, as another owner wrote them.
fn written(offset: i64) -> Record {
    let mut h = Harness::new();
    h.commit(commit("g", "t", offset));
    h.log.remove(0)
}

#[test]
fn rule_143_of_plain_and_transactional_commits_the_later_record_counts() {
    let mut h = Harness::new();
    let (producer, plain, transactional) = (ProducerId(7), written(1), written(2));
    let replay = |groups: &mut Groups, at, producer, record: &Record| {
        groups
            .replay(Offset(at), producer, &record.key, record.value.as_deref())
            .unwrap();
    };
    replay(&mut h.groups, 0, Some(producer), &transactional);
    assert_eq!(h.committed("g", "t"), -1, "an open transaction counts for nothing");
    let fetch = Request::OffsetFetch(OffsetFetch {
        groups: vec![FetchGroup {
            group_id: "g".into(),
            topics: Some(vec![FetchTopic {
                name: "t".into(),
                partitions: vec![0],
            }]),
        }],
        require_stable: true,
    });
    let token = h.send(fetch);
    let Reply::OffsetFetch(groups) = h.reply(token) else {
        panic!()
    };
    assert_eq!(groups[0].topics[0].partitions[0].error, ErrorCode::UnstableOffsetCommit);
    replay(&mut h.groups, 1, None, &plain);
    h.groups.replay_end_transaction(producer, true);
    assert_eq!(
        h.committed("g", "t"),
        1,
        "the plain commit came later, whenever the marker did"
    );

    replay(&mut h.groups, 3, Some(producer), &transactional);
    h.groups.replay_end_transaction(producer, false);
    assert_eq!(h.committed("g", "t"), 1, "aborted");
    replay(&mut h.groups, 5, Some(producer), &transactional);
    h.groups.replay_end_transaction(producer, true);
    assert_eq!(h.committed("g", "t"), 2);
}

#[test]
fn rule_143_a_tombstone_drops_pending_offsets_too() {
    let mut h = Harness::new();
    let record = written(2);
    h.groups
        .replay(Offset(0), Some(ProducerId(7)), &record.key, record.value.as_deref())
        .unwrap();
    h.groups.replay(Offset(1), None, &record.key, None).unwrap();
    h.groups.replay_end_transaction(ProducerId(7), true);
    assert_eq!(h.committed("g", "t"), -1);
}

#[test]
fn rule_146_a_deleted_topic_takes_its_offsets_along_in_every_group() {
    let mut h = Harness::new();
    let (gone, stays) = (h.create_topic("gone", 1), h.create_topic("stays", 1));
    for group in ["a", "b"] {
        for (topic, id) in [("gone", gone), ("stays", stays), ("without-id", TopicId::ZERO)] {
            let mut request = commit(group, topic, 5);
            request.topics[0].topic_id = id;
            h.commit(request);
        }
    }
    let written = h.log.len();
    h.delete_topic("gone", gone);
    assert_eq!(h.log.len(), written + 2);
    h.create_topic("gone", 1);
    for _ in 0..2 {
        for group in ["a", "b"] {
            let committed = ["gone", "stays", "without-id"].map(|topic| h.committed(group, topic));
            assert_eq!(committed, [-1, 5, 5]);
        }
        h.reload();
    }
}
