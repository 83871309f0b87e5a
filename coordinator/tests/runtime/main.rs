//! A coordinator against a broker that the test plays, over in-memory transport: only gRPC goes in and out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod broker;
mod cluster;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cluster::{Cluster, FIRST, SECOND};
use highwater_proto::grpc::ForwardRequest;
use highwater_proto::kafka::messages::heartbeat::HeartbeatRequest;
use highwater_proto::kafka::messages::join_group::JoinGroupRequest;
use highwater_proto::kafka::messages::join_group::request::JoinGroupRequestProtocol;
use highwater_proto::kafka::messages::offset_commit::OffsetCommitRequest;
use highwater_proto::kafka::messages::offset_commit::request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use highwater_proto::kafka::messages::offset_fetch::OffsetFetchRequest;
use highwater_proto::kafka::messages::offset_fetch::request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use highwater_proto::kafka::messages::sync_group::SyncGroupRequest;
use highwater_proto::kafka::messages::sync_group::request::SyncGroupRequestAssignment;
use highwater_proto::kafka::{ErrorCode, Request};

/// A request of the highest version.
fn forward<R: Request>(request: &R, version: i16) -> ForwardRequest {
    let mut body = BytesMut::new();
    request.encode(&mut body, version).unwrap();
    ForwardRequest {
        api_key: R::API_KEY.code().into(),
        api_version: version.into(),
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        body: body.freeze(),
        ..ForwardRequest::default()
    }
}

fn commit(group: &str, offset: i64) -> ForwardRequest {
    let request = OffsetCommitRequest {
        group_id: group.into(),
        topics: vec![OffsetCommitRequestTopic {
            name: "t".into(),
            partitions: vec![OffsetCommitRequestPartition {
                committed_offset: offset,
                committed_metadata: Some("".into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    forward(&request, 9)
}

fn fetch(group: &str) -> ForwardRequest {
    let request = OffsetFetchRequest {
        topics: Some(Vec::new()),
        groups: vec![OffsetFetchRequestGroup {
            group_id: group.into(),
            topics: Some(vec![OffsetFetchRequestTopics {
                name: "t".into(),
                partition_indexes: vec![0],
                ..Default::default()
            }]),
            ..Default::default()
        }],
        ..Default::default()
    };
    forward(&request, 9)
}

fn join(member_id: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        member_id: member_id.into(),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: Bytes::from_static(b"\0\0"),
            ..Default::default()
        }],
        ..Default::default()
    }
}

async fn committed(cluster: &mut Cluster, coordinator: i32, group: &str) -> i64 {
    let reply = cluster
        .call::<OffsetFetchRequest>(coordinator, fetch(group), 9)
        .await
        .unwrap();
    reply.groups[0].topics[0].partitions[0].committed_offset
}

async fn commit_on(cluster: &mut Cluster, coordinator: i32, group: &str, offset: i64) -> Result<i16, ErrorCode> {
    let reply = cluster
        .call::<OffsetCommitRequest>(coordinator, commit(group, offset), 9)
        .await?;
    Ok(reply.topics[0].partitions[0].error_code)
}

#[tokio::test]
async fn a_member_joins_syncs_heartbeats_and_commits_over_the_service() {
    let mut cluster = Cluster::start().await;
    let version = 9;
    let first = cluster
        .call::<JoinGroupRequest>(FIRST, forward(&join(""), version), version)
        .await
        .unwrap();
    assert_eq!(first.error_code, ErrorCode::MemberIdRequired.code());
    let member_id = first.member_id;
    let joined = cluster
        .call::<JoinGroupRequest>(FIRST, forward(&join(&member_id), version), version)
        .await
        .unwrap();
    assert_eq!(
        (joined.error_code, joined.generation_id, joined.members.len()),
        (0, 1, 1)
    );
    let sync = SyncGroupRequest {
        group_id: "g".into(),
        generation_id: 1,
        member_id: member_id.clone(),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: member_id.clone(),
            assignment: Bytes::from_static(b"yours"),
            ..Default::default()
        }],
        ..Default::default()
    };
    let synced = cluster
        .call::<SyncGroupRequest>(FIRST, forward(&sync, 5), 5)
        .await
        .unwrap();
    assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"yours"[..]));

    // Another owner knows the member and its generation.
    cluster.assign(SECOND);
    let heartbeat = HeartbeatRequest {
        group_id: "g".into(),
        generation_id: 1,
        member_id,
        ..Default::default()
    };
    let alive = cluster
        .call::<HeartbeatRequest>(SECOND, forward(&heartbeat, 4), 4)
        .await
        .unwrap();
    assert_eq!(alive.error_code, 0);
    let moved = cluster
        .call_once::<HeartbeatRequest>(FIRST, forward(&heartbeat, 4), 4)
        .await;
    assert_eq!(moved.unwrap_err(), ErrorCode::NotCoordinator);
}

#[tokio::test]
async fn offsets_survive_owners_and_leaders() {
    let mut cluster = Cluster::start().await;
    for round in 0..6 {
        let owner = if round % 2 == 0 { FIRST } else { SECOND };
        cluster.assign(owner);
        assert_eq!(commit_on(&mut cluster, owner, "g", round).await, Ok(0));
        assert_eq!(committed(&mut cluster, owner, "g").await, round);
        cluster.move_leader();
        assert_eq!(committed(&mut cluster, owner, "g").await, round);
    }
}

#[tokio::test]
async fn an_owner_that_does_not_know_that_it_was_replaced_answers_nothing() {
    let mut cluster = Cluster::start().await;
    assert_eq!(commit_on(&mut cluster, FIRST, "g", 1).await, Ok(0));
    cluster.freeze_image(FIRST);
    cluster.assign(SECOND);
    assert_eq!(commit_on(&mut cluster, SECOND, "g", 2).await, Ok(0));
    let stale = cluster
        .call_once::<OffsetFetchRequest>(FIRST, cluster.without_revision(fetch("g")), 9)
        .await;
    assert_eq!(stale.unwrap_err(), ErrorCode::NotCoordinator);
    let zombie = cluster
        .call_once::<OffsetCommitRequest>(FIRST, cluster.without_revision(commit("g", 0)), 9)
        .await;
    assert!(zombie.is_err());
    assert_eq!(committed(&mut cluster, SECOND, "g").await, 2);
}

#[tokio::test]
async fn an_append_without_an_answer_is_neither_lost_nor_believed() {
    let mut cluster = Cluster::start().await;
    assert_eq!(commit_on(&mut cluster, FIRST, "g", 1).await, Ok(0));
    cluster.broker.drop_next_append_reply();
    let unknown = cluster
        .call_once::<OffsetCommitRequest>(FIRST, cluster.stamped(commit("g", 2)), 9)
        .await;
    assert!(unknown.is_err(), "its fate is not known");
    assert_eq!(committed(&mut cluster, FIRST, "g").await, 2, "it had landed");
    assert_eq!(commit_on(&mut cluster, FIRST, "g", 3).await, Ok(0));
    assert_eq!(committed(&mut cluster, FIRST, "g").await, 3);
}

#[tokio::test]
async fn many_commits_share_few_appends() {
    let mut cluster = Cluster::start().await;
    assert_eq!(committed(&mut cluster, FIRST, "g").await, -1);
    cluster.broker.slow_down(Duration::from_millis(20));
    let requests = (0..500).map(|n| commit(&format!("g{n}"), n)).collect();
    let replies = cluster.call_all(FIRST, requests).await;
    assert!(replies.iter().all(|reply| reply.error == 0));
    let appends = cluster.broker.appends();
    assert!(appends < 50, "500 commits took {appends} appends");
}

#[tokio::test]
async fn a_request_waits_for_the_image_that_its_sender_had() {
    let mut cluster = Cluster::start().await;
    assert_eq!(committed(&mut cluster, FIRST, "g").await, -1);
    let mut early = cluster.stamped(commit("g", 1));
    early.image_revision += 1;
    let reply = cluster.send(FIRST, early).await;
    cluster.touch_image();
    assert_eq!(reply.await.unwrap().error, 0);
    let mut never = cluster.stamped(commit("g", 1));
    never.image_revision += 100;
    let reply = cluster.send(FIRST, never).await.await.unwrap();
    assert_eq!(reply.error, i32::from(ErrorCode::CoordinatorLoadInProgress.code()));
}

#[tokio::test]
async fn a_clean_stop_sends_parked_members_away() {
    let mut cluster = Cluster::start().await;
    let mut patient = join("");
    patient.group_instance_id = Some("i".into());
    let first = cluster
        .call::<JoinGroupRequest>(FIRST, forward(&patient, 9), 9)
        .await
        .unwrap();
    assert_eq!(first.error_code, 0);
    // A second member makes the group wait for the first, which does not come.
    patient.group_instance_id = Some("j".into());
    let request = cluster.stamped(forward(&patient, 9));
    let parked = cluster.send(FIRST, request).await;
    cluster.settle().await;
    cluster.stop(FIRST).await;
    assert_eq!(parked.await.unwrap().error, i32::from(ErrorCode::NotCoordinator.code()));
}

#[tokio::test]
async fn lag_is_shown_in_records_and_seconds() {
    let mut cluster = Cluster::start().await;
    assert_eq!(commit_on(&mut cluster, FIRST, "g", 3).await, Ok(0));
    let figure = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next()?.parse::<f64>().ok()
    };
    let lag = r#"kafka_consumergroup_lag{consumergroup="g",topic="t",partition="0"}"#;
    let seconds = r#"kafka_consumergroup_lag_seconds{consumergroup="g",topic="t",partition="0"}"#;
    let current = r#"kafka_topic_partition_current_offset{topic="t",partition="0"}"#;
    let text = shown(&cluster, FIRST, &[lag, seconds, current]).await;
    assert_eq!((figure(&text, lag), figure(&text, current)), (Some(7.0), Some(10.0)));
    let age = figure(&text, seconds).unwrap();
    assert!((60.0..120.0).contains(&age), "{age}");

    // Whoever loses the shard shows it no longer, at once; whoever gets it does.
    cluster.assign(SECOND);
    let text = cluster.metrics(FIRST);
    assert!(!text.contains(lag) && !text.contains(current), "{text}");
    shown(&cluster, SECOND, &[lag, seconds, current]).await;
    assert!(!cluster.metrics(FIRST).contains(lag));
    shown(
        &cluster,
        SECOND,
        &[r#"highwater_coordinator_shards{state="serving"} 1"#],
    )
    .await;
    shown(&cluster, SECOND, &["highwater_coordinator_shard_load_seconds_count 1"]).await;
    assert!(!cluster.metrics(FIRST).contains(r#"state="serving"} 1"#));
}

#[tokio::test]
async fn lag_that_is_not_looked_at_is_counted_and_never_left_out_in_silence() {
    // Group "g" has the first of the questions to itself, or none.
    for (limit, lag_is_known) in [(1, true), (0, false)] {
        let mut cluster = Cluster::start_with(match limit {
            0 => |config| config.lag_partitions = 0,
            _ => |config| config.lag_partitions = 1,
        })
        .await;
        assert_eq!(commit_on(&mut cluster, FIRST, "g", 3).await, Ok(0));
        let unknown =
            |of: &str, count: usize| format!(r#"highwater_consumer_lag_unknown_partitions{{of="{of}"}} {count}"#);
        let offset = r#"kafka_consumergroup_current_offset{consumergroup="g",topic="t",partition="0"} 3"#;
        let topics = r#"kafka_topic_partitions{topic="t"} 1"#;
        let group = unknown("group", usize::from(!lag_is_known));
        let text = shown(&cluster, FIRST, &[offset, topics, &group]).await;
        assert!(!text.contains("kafka_topic_partition_current_offset{"), "{text}");
        assert!(!text.contains(&unknown("topic", 0)), "{text}");
        let lag = text.contains(r#"kafka_consumergroup_lag{consumergroup="g""#);
        assert_eq!(lag, lag_is_known, "{text}");
    }
}

/// What a coordinator shows, once these are among it.
async fn shown(cluster: &Cluster, coordinator: i32, names: &[&str]) -> String {
    for _ in 0..100 {
        let text = cluster.metrics(coordinator);
        if names.iter().all(|name| text.contains(name)) {
            return text;
        }
        cluster.settle().await;
    }
    panic!("{names:?} are not shown:\n{}", cluster.metrics(coordinator));
}
