//! Every forwarded API in every version, when there is no coordinator: each answers NOT_COORDINATOR in its own shape.

use highwater_broker::api::SERVED;
use highwater_proto::kafka::messages::delete_groups::DeleteGroupsRequest;
use highwater_proto::kafka::messages::describe_groups::DescribeGroupsRequest;
use highwater_proto::kafka::messages::heartbeat::HeartbeatRequest;
use highwater_proto::kafka::messages::join_group::JoinGroupRequest;
use highwater_proto::kafka::messages::leave_group::LeaveGroupRequest;
use highwater_proto::kafka::messages::list_groups::ListGroupsRequest;
use highwater_proto::kafka::messages::offset_commit::OffsetCommitRequest;
use highwater_proto::kafka::messages::offset_commit::request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use highwater_proto::kafka::messages::offset_delete::OffsetDeleteRequest;
use highwater_proto::kafka::messages::offset_fetch::OffsetFetchRequest;
use highwater_proto::kafka::messages::offset_fetch::request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic};
use highwater_proto::kafka::messages::sync_group::SyncGroupRequest;
use highwater_proto::kafka::{ApiKey, Request};

use tokio::io::AsyncWriteExt as _;

use crate::cluster::Cluster;
use crate::support::Client;

const NOT_COORDINATOR: i16 = 16;

/// Sends the request in every version that is served and looks at each answer. Decoding takes the whole frame.
async fn every_version<R: Request>(client: &mut Client, make: impl Fn(i16) -> R, check: impl Fn(i16, R::Response)) {
    let served = SERVED.iter().find(|api| api.key == R::API_KEY).expect("served");
    assert!(served.forwarded);
    for version in served.min_version..=served.max_version {
        let answer = client.call(version, &make(version)).await;
        check(version, answer);
    }
}

#[tokio::test]
async fn members_are_told_to_look_for_the_coordinator() {
    let cluster = Cluster::start().await;
    let client = &mut cluster.connect().await;
    let join = |_| JoinGroupRequest {
        group_id: "g".into(),
        member_id: "m".into(),
        ..Default::default()
    };
    every_version(client, join, |version, answer| {
        assert_eq!(answer.error_code, NOT_COORDINATOR);
        assert_eq!(
            (answer.generation_id, &*answer.leader, &*answer.member_id),
            (-1, "", "m"),
            "v{version}"
        );
        assert!(answer.members.is_empty() && answer.protocol_type.is_none());
        let name = answer.protocol_name.as_deref();
        assert_eq!(name, if version < 7 { Some("") } else { None }, "v{version}");
    })
    .await;
    let sync = |_| SyncGroupRequest {
        group_id: "g".into(),
        ..Default::default()
    };
    every_version(client, sync, |_, answer| {
        assert_eq!((answer.error_code, answer.assignment.len()), (NOT_COORDINATOR, 0));
        assert!(answer.protocol_type.is_none() && answer.protocol_name.is_none());
    })
    .await;
    let beat = |_| HeartbeatRequest {
        group_id: "g".into(),
        ..Default::default()
    };
    every_version(client, beat, |_, answer| assert_eq!(answer.error_code, NOT_COORDINATOR)).await;
    let leave = |_| LeaveGroupRequest {
        group_id: "g".into(),
        ..Default::default()
    };
    every_version(client, leave, |_, answer| {
        assert_eq!((answer.error_code, answer.members.len()), (NOT_COORDINATOR, 0));
    })
    .await;
}

#[tokio::test]
async fn a_refused_commit_is_refused_on_every_partition() {
    let cluster = Cluster::start().await;
    let client = &mut cluster.connect().await;
    let partition = |index| OffsetCommitRequestPartition {
        partition_index: index,
        ..Default::default()
    };
    let topic = |name: &str, partitions: &[i32]| OffsetCommitRequestTopic {
        name: name.into(),
        partitions: partitions.iter().map(|index| partition(*index)).collect(),
        ..Default::default()
    };
    let commit = |_| OffsetCommitRequest {
        group_id: "g".into(),
        topics: vec![topic("a", &[0, 7]), topic("b", &[1])],
        ..Default::default()
    };
    every_version(client, commit, |version, answer| {
        let rows: Vec<_> = answer
            .topics
            .iter()
            .flat_map(|topic| {
                topic
                    .partitions
                    .iter()
                    .map(|it| (&*topic.name, it.partition_index, it.error_code))
            })
            .collect();
        assert_eq!(rows, [("a", 0, 16), ("a", 7, 16), ("b", 1, 16)], "v{version}");
    })
    .await;
}

#[tokio::test]
async fn a_refused_fetch_of_offsets_has_its_error_where_the_version_has_it() {
    let cluster = Cluster::start().await;
    let client = &mut cluster.connect().await;
    let topic = || OffsetFetchRequestTopic {
        name: "a".into(),
        partition_indexes: vec![3, 4],
        ..Default::default()
    };
    let group = |id: &str| OffsetFetchRequestGroup {
        group_id: id.into(),
        topics: None,
        ..Default::default()
    };
    let fetch = |version: i16| match version {
        8.. => OffsetFetchRequest {
            groups: vec![group("g"), group("h"), group("g")],
            ..Default::default()
        },
        _ => OffsetFetchRequest {
            group_id: "g".into(),
            topics: Some(vec![topic()]),
            ..Default::default()
        },
    };
    every_version(client, fetch, |version, answer| match version {
        ..2 => {
            let partitions = &answer.topics[0].partitions;
            let rows: Vec<_> = partitions
                .iter()
                .map(|it| {
                    (
                        it.partition_index,
                        it.committed_offset,
                        it.metadata.as_deref(),
                        it.error_code,
                    )
                })
                .collect();
            assert_eq!(rows, [(3, -1, Some(""), 16), (4, -1, Some(""), 16)]);
        }
        2..8 => assert_eq!(
            (answer.error_code, answer.topics.len()),
            (NOT_COORDINATOR, 0),
            "v{version}"
        ),
        _ => {
            let rows: Vec<_> = answer.groups.iter().map(|it| (&*it.group_id, it.error_code)).collect();
            assert_eq!(
                rows,
                [("g", 16), ("h", 16), ("g", 16)],
                "v{version}, in the order of the request"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn admins_are_told_group_by_group() {
    let cluster = Cluster::start().await;
    // With shards: the groups are of several.
    cluster.create_offsets(4).await;
    let client = &mut cluster.connect().await;
    let names = ["a", "b", "c", "d", "e", "a"];
    let describe = |_| DescribeGroupsRequest {
        groups: names.map(Into::into).to_vec(),
        ..Default::default()
    };
    every_version(client, describe, |version, answer| {
        let rows: Vec<_> = answer.groups.iter().map(|it| (&*it.group_id, it.error_code)).collect();
        assert_eq!(rows, names.map(|name| (name, NOT_COORDINATOR)), "v{version}");
        assert!(
            answer
                .groups
                .iter()
                .all(|it| it.group_state.is_empty() && it.members.is_empty())
        );
        assert!(answer.groups.iter().all(|it| it.authorized_operations == i32::MIN));
    })
    .await;
    let delete = |_| DeleteGroupsRequest {
        groups_names: names.map(Into::into).to_vec(),
        ..Default::default()
    };
    every_version(client, delete, |_, answer| {
        let rows: Vec<_> = answer.results.iter().map(|it| (&*it.group_id, it.error_code)).collect();
        assert_eq!(
            rows,
            ["a", "b", "c", "d", "e"].map(|name| (name, NOT_COORDINATOR)),
            "each once"
        );
    })
    .await;
    let delete = |_| OffsetDeleteRequest {
        group_id: "g".into(),
        ..Default::default()
    };
    every_version(client, delete, |_, answer| {
        assert_eq!((answer.error_code, answer.topics.len()), (NOT_COORDINATOR, 0));
    })
    .await;
    // Its shards have no coordinator yet: half a list would look like a whole one, and this error is retried.
    every_version(
        client,
        |_| ListGroupsRequest::default(),
        |_, answer| {
            assert_eq!((answer.error_code, answer.groups.len()), (14, 0));
        },
    )
    .await;
}

#[tokio::test]
async fn without_shards_there_are_no_groups() {
    let cluster = Cluster::start().await;
    let client = &mut cluster.connect().await;
    every_version(
        client,
        |_| ListGroupsRequest::default(),
        |_, answer| {
            assert_eq!((answer.error_code, answer.groups.len()), (0, 0));
        },
    )
    .await;
}

#[tokio::test]
async fn every_forwarded_api_is_looked_at_here() {
    let forwarded: Vec<_> = SERVED.iter().filter(|api| api.forwarded).map(|api| api.key).collect();
    let here = [
        ApiKey::Heartbeat,
        ApiKey::OffsetCommit,
        ApiKey::JoinGroup,
        ApiKey::SyncGroup,
        ApiKey::LeaveGroup,
        ApiKey::OffsetFetch,
        ApiKey::OffsetDelete,
        ApiKey::ListGroups,
        ApiKey::DescribeGroups,
        ApiKey::DeleteGroups,
    ];
    assert_eq!(forwarded, here);
}

#[tokio::test]
async fn a_body_that_is_none_closes_the_connection() {
    let cluster = Cluster::start().await;
    let mut client = cluster.connect().await;
    let whole = JoinGroupRequest {
        group_id: "g".into(),
        ..Default::default()
    };
    let mut frame = crate::support::frame(ApiKey::JoinGroup, 4, 1, &whole);
    frame.truncate(frame.len() - 2);
    let size = (frame.len() - 4) as i32;
    frame[..4].copy_from_slice(&size.to_be_bytes());
    client.stream.write_all(&frame).await.unwrap();
    assert!(client.is_closed().await);
}
