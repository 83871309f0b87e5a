//! What every [`MetadataStore`] must do. An implementation's test calls [`run`] with a maker of empty stores.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use highwater_proto::metadata::{
    Change, ClusterInfo, DiskPressure, MetadataImage, NodeDisk, NodeDuty, NodeRegistration, NodeRole, NodeState,
    Partition,
};
use highwater_proto::types::{NodeId, PartitionIndex, Revision, TopicId};

use crate::store::layout::ABSENT;
use crate::store::{
    CommitError, Guard, Leadership, MAX_TXN_OPERATIONS, MetadataStore, Operation, Transaction, WatchError, layout,
};

/// The whole suite.
pub(crate) async fn run<S, F, M>(make: M)
where
    S: MetadataStore + Clone,
    F: Future<Output = S>,
    M: Fn() -> F,
{
    an_empty_store_has_nothing(make().await).await;
    every_transaction_has_a_higher_revision(make().await).await;
    a_load_has_every_key_with_its_revision(make().await).await;
    a_guard_that_does_not_hold_stops_everything(make().await).await;
    transactions_of_the_full_size_pass_and_larger_ones_do_not(make().await).await;
    one_candidate_leads_at_a_time(make().await).await;
    everybody_hears_who_leads(make().await).await;
    a_deposed_leader_cannot_commit(make().await).await;
    a_watch_has_every_transaction_once_in_order(make().await).await;
    a_watch_that_is_too_far_behind_says_so(make().await).await;
    concurrent_writers_of_one_key_never_both_win(make().await).await;
    the_image_from_the_watch_is_the_image_from_the_load(make().await).await;
}

fn put(key: &str, value: &str) -> Operation {
    Operation::Put(key.to_owned(), Bytes::copy_from_slice(value.as_bytes()))
}

fn writes(operations: Vec<Operation>) -> Transaction {
    Transaction {
        guards: Vec::new(),
        operations,
    }
}

fn guarded(key: &str, modified: Revision, operation: Operation) -> Transaction {
    Transaction {
        guards: vec![Guard {
            key: key.to_owned(),
            modified,
        }],
        operations: vec![operation],
    }
}

/// Keys and values without the election's.
async fn content<S: MetadataStore>(store: &S) -> Vec<(String, String, Revision)> {
    let loaded = store.load().await.unwrap();
    let ours = loaded
        .entries
        .into_iter()
        .filter(|entry| !entry.key.starts_with("election/"));
    ours.map(|entry| {
        (
            entry.key,
            String::from_utf8(entry.value.to_vec()).unwrap(),
            entry.modified,
        )
    })
    .collect()
}

async fn lead<S: MetadataStore>(store: &S) -> Leadership {
    tokio::time::timeout(Duration::from_secs(20), store.campaign("candidate"))
        .await
        .unwrap()
        .unwrap()
}

async fn an_empty_store_has_nothing<S: MetadataStore>(store: S) {
    assert_eq!(content(&store).await, []);
}

async fn every_transaction_has_a_higher_revision<S: MetadataStore>(store: S) {
    let leadership = lead(&store).await;
    assert!(leadership.created() > Revision(0));
    let mut last = store.load().await.unwrap().revision;
    for _ in 0..3 {
        let revision = store
            .commit(&leadership, writes(vec![put("topics/a", "x")]))
            .await
            .unwrap();
        assert!(revision > last, "{revision} comes after {last}");
        assert_eq!(store.load().await.unwrap().revision, revision);
        last = revision;
    }
}

async fn a_load_has_every_key_with_its_revision<S: MetadataStore>(store: S) {
    let leadership = lead(&store).await;
    let first = store
        .commit(&leadership, writes(vec![put("topics/b", "1"), put("topics/a", "1")]))
        .await
        .unwrap();
    let second = store
        .commit(
            &leadership,
            writes(vec![put("topics/b", "2"), put("nodes/1/state", "")]),
        )
        .await
        .unwrap();
    let expected = [
        ("nodes/1/state".to_owned(), String::new(), second),
        ("topics/a".to_owned(), "1".to_owned(), first),
        ("topics/b".to_owned(), "2".to_owned(), second),
    ];
    assert_eq!(content(&store).await, expected, "in the order of the keys");
    let delete = vec![
        Operation::Delete("topics/a".to_owned()),
        Operation::Delete("topics/never".to_owned()),
    ];
    store.commit(&leadership, writes(delete)).await.unwrap();
    assert_eq!(content(&store).await.len(), 2);
}

async fn a_guard_that_does_not_hold_stops_everything<S: MetadataStore>(store: S) {
    let leadership = lead(&store).await;
    let commit = |transaction| store.commit(&leadership, transaction);
    let first = commit(guarded("topics/a", ABSENT, put("topics/a", "1"))).await.unwrap();
    let conflict = commit(guarded("topics/a", ABSENT, put("topics/a", "2"))).await;
    assert!(matches!(conflict, Err(CommitError::Conflict)), "{conflict:?}");
    let second = commit(guarded("topics/a", first, put("topics/a", "2"))).await.unwrap();
    let stale = Transaction {
        guards: vec![
            Guard {
                key: "topics/b".to_owned(),
                modified: ABSENT,
            },
            Guard {
                key: "topics/a".to_owned(),
                modified: first,
            },
        ],
        operations: vec![put("topics/b", "3"), put("topics/c", "3")],
    };
    assert!(matches!(commit(stale).await, Err(CommitError::Conflict)));
    assert_eq!(
        content(&store).await,
        [("topics/a".to_owned(), "2".to_owned(), second)],
        "all or nothing"
    );
    assert_eq!(
        store.load().await.unwrap().revision,
        second,
        "what fails has no revision"
    );
    commit(guarded("topics/a", second, Operation::Delete("topics/a".to_owned())))
        .await
        .unwrap();
    commit(guarded("topics/a", ABSENT, put("topics/a", "4"))).await.unwrap();
}

async fn transactions_of_the_full_size_pass_and_larger_ones_do_not<S: MetadataStore>(store: S) {
    let leadership = lead(&store).await;
    let of = |count: usize| Transaction {
        guards: (0..count)
            .map(|n| Guard {
                key: format!("topics/{n}"),
                modified: ABSENT,
            })
            .collect(),
        operations: (0..count).map(|n| put(&format!("topics/{n}"), "x")).collect(),
    };
    let too_large = store.commit(&leadership, of(MAX_TXN_OPERATIONS + 1)).await;
    assert!(matches!(too_large, Err(CommitError::Invalid(_))), "{too_large:?}");
    store.commit(&leadership, of(MAX_TXN_OPERATIONS)).await.unwrap();
    assert_eq!(content(&store).await.len(), MAX_TXN_OPERATIONS);
    let twice = writes(vec![put("topics/a", "1"), put("topics/a", "2")]);
    assert!(matches!(
        store.commit(&leadership, twice).await,
        Err(CommitError::Invalid(_))
    ));
}

async fn one_candidate_leads_at_a_time<S: MetadataStore + Clone>(store: S) {
    let first = lead(&store).await;
    let other = store.clone();
    let mut second = tokio::spawn(async move { other.campaign("second").await.unwrap() });
    let early = tokio::time::timeout(Duration::from_millis(50), &mut second).await;
    assert!(early.is_err(), "nobody else leads while the first does");
    let created = first.created();
    let lost = first.lost().clone();
    drop(first);
    assert!(lost.is_cancelled());
    let second = tokio::time::timeout(Duration::from_secs(20), second)
        .await
        .unwrap()
        .unwrap();
    assert!(second.created() > created);
    store.commit(&second, writes(vec![put("topics/a", "1")])).await.unwrap();
}

async fn everybody_hears_who_leads<S: MetadataStore + Clone>(store: S) {
    let mut leader = store.clone().leader();
    let mut heard = async |expected: Option<&str>| {
        let named = leader.wait_for(|leader| leader.as_deref() == expected);
        let named = tokio::time::timeout(Duration::from_secs(20), named).await;
        assert!(matches!(named, Ok(Ok(_))), "{expected:?} was not heard of");
    };
    heard(None).await;
    let first = store.campaign("first:9190").await.unwrap();
    heard(Some("first:9190")).await;
    store.resign(first).await;
    heard(None).await;
    let second = store.campaign("second:9190").await.unwrap();
    heard(Some("second:9190")).await;
    drop(second);
    heard(None).await;
}

async fn a_deposed_leader_cannot_commit<S: MetadataStore>(store: S) {
    let resigned = lead(&store).await;
    let created = resigned.created();
    drop(resigned);
    // What a leader that does not know it yet would still hold.
    let stale = Leadership::new(created, tokio_util::sync::CancellationToken::new(), || {});
    let between = store.commit(&stale, writes(vec![put("topics/a", "1")])).await;
    assert!(matches!(between, Err(CommitError::Deposed)), "{between:?}");
    let current = lead(&store).await;
    let after = store.commit(&stale, writes(vec![put("topics/a", "1")])).await;
    assert!(matches!(after, Err(CommitError::Deposed)), "{after:?}");
    store
        .commit(&current, writes(vec![put("topics/b", "1")]))
        .await
        .unwrap();
    assert_eq!(content(&store).await.len(), 1);
}

async fn a_watch_has_every_transaction_once_in_order<S: MetadataStore>(store: S) {
    let leadership = lead(&store).await;
    let start = store.load().await.unwrap().revision;
    let mut live = store.watch(start).await.unwrap();
    let mut revisions = Vec::new();
    for n in 0..5 {
        let operations = vec![
            put("topics/a", &n.to_string()),
            Operation::Delete(format!("topics/{n}")),
        ];
        revisions.push(store.commit(&leadership, writes(operations)).await.unwrap());
    }
    let mut late = store.watch(revisions[1]).await.unwrap();
    for (n, revision) in revisions.iter().enumerate() {
        let event = live.next().await.unwrap();
        assert_eq!(event.revision, *revision);
        assert!(event.operations.contains(&put("topics/a", &n.to_string())), "{event:?}");
        if n >= 2 {
            assert_eq!(late.next().await.unwrap(), event, "a watch resumes from a revision");
        }
    }
}

async fn a_watch_that_is_too_far_behind_says_so<S: MetadataStore>(store: S) {
    let leadership = lead(&store).await;
    let mut slow = store.watch(store.load().await.unwrap().revision).await.unwrap();
    for n in 0..600 {
        store
            .commit(&leadership, writes(vec![put("topics/a", &n.to_string())]))
            .await
            .unwrap();
    }
    // Either the store still has everything, or it says that it has not; it never skips.
    let last = store.load().await.unwrap().revision;
    loop {
        match slow.next().await {
            Ok(event) if event.revision == last => break,
            Ok(_) => {}
            Err(WatchError::Compacted { .. } | WatchError::Closed) => break,
        }
    }
}

async fn concurrent_writers_of_one_key_never_both_win<S: MetadataStore + Clone>(store: S) {
    let leadership = std::sync::Arc::new(lead(&store).await);
    let mut writers = Vec::new();
    for n in 0..8 {
        let (store, leadership) = (store.clone(), std::sync::Arc::clone(&leadership));
        writers.push(tokio::spawn(async move {
            store
                .commit(
                    &leadership,
                    guarded("topics/a", ABSENT, put("topics/a", &n.to_string())),
                )
                .await
                .is_ok()
        }));
    }
    let mut winners = 0;
    for writer in writers {
        winners += i32::from(writer.await.unwrap());
    }
    assert_eq!(winners, 1);
}

/// What happens to a cluster, from its first key on.
fn a_clusters_life() -> Vec<Vec<Change>> {
    let (node, id, name) = (NodeId(1), TopicId(uuid::Uuid::from_u128(7)), "a.b".to_owned());
    let info = ClusterInfo {
        cluster_id: "c".into(),
        generation: 1,
        format_version: 1,
    };
    let registration = NodeRegistration {
        role: NodeRole::Broker,
        incarnation: uuid::Uuid::from_u128(8),
        directory_id: uuid::Uuid::from_u128(9),
        endpoints: Vec::new(),
        rack: None,
        api_ranges: Vec::new(),
        pod_uid: None,
    };
    let disk = NodeDisk {
        pressure: DiskPressure::Low,
        tenths: 3,
        stalled: true,
    };
    let partition = Partition {
        replicas: vec![node],
        leader: Some(node),
        ..Partition::default()
    };
    let put_topic = Change::PutTopic {
        name: name.clone(),
        topic_id: id,
        partition_count: 1,
        configs: BTreeMap::from([("retention.ms".to_owned(), "1".to_owned())]),
        owner: None,
    };
    vec![
        vec![Change::PutCluster(info)],
        vec![Change::PutNodeRegistration(node, registration.clone())],
        vec![Change::PutNodeState(node, NodeState::Active)],
        vec![Change::PutNodeDuty(node, NodeDuty::Draining)],
        vec![Change::PutNodeDisk(node, disk)],
        vec![Change::PutNodeRegistration(node, registration)],
        vec![
            Change::PutPartition(id, PartitionIndex(0), partition.clone()),
            put_topic,
        ],
        vec![Change::PutPartition(id, PartitionIndex(0), partition)],
        vec![Change::DeleteTopic { name, topic_id: id }],
        vec![Change::DeletePartition(id, PartitionIndex(0))],
        vec![Change::DeleteNode(node)],
    ]
}

async fn the_image_from_the_watch_is_the_image_from_the_load<S: MetadataStore>(store: S) {
    let leadership = lead(&store).await;
    let loaded = store.load().await.unwrap();
    let mut watch = store.watch(loaded.revision).await.unwrap();
    let mut watched = MetadataImage::from_snapshot(&layout::snapshot(&loaded).unwrap());
    for step in a_clusters_life() {
        let operations = step.iter().flat_map(layout::operations).collect();
        let revision = store.commit(&leadership, writes(operations)).await.unwrap();
        while watched.revision < revision {
            let event = watch.next().await.unwrap();
            watched = watched.apply(&layout::update(&watched, &event).unwrap());
        }
        let snapshot = layout::snapshot(&store.load().await.unwrap()).unwrap();
        assert_eq!(MetadataImage::from_snapshot(&snapshot), watched, "after {step:?}");
    }
    assert_eq!(watched.orphan_partitions().count(), 0);
}
