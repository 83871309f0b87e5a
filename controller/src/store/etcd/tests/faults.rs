//! etcd goes away, forgets, is full, or answers too late.

use etcd_client::{AlarmAction, AlarmOptions, AlarmType};

use super::proxy::{Mode, Proxy};
use super::server::{EtcdCluster, Options, etcd_with};
use super::*;

#[tokio::test]
async fn a_watch_outlives_etcd_without_a_gap_and_without_a_double() {
    let mut etcd = etcd().await;
    let mut config = etcd.config("c");
    config.lease_ttl = Duration::from_secs(30);
    let store = EtcdStore::connect(config).await.unwrap();
    let leadership = store.campaign("one").await.unwrap();
    let mut watch = store.watch(leadership.created()).await.unwrap();
    let mut written = vec![store.commit(&leadership, put("topics/a", "0")).await.unwrap()];
    assert_eq!(
        soon("the first event", watch.next()).await.unwrap().revision,
        written[0]
    );
    for round in 0..2 {
        // One is in etcd when it dies, and not yet delivered.
        written.push(store.commit(&leadership, put("topics/a", "x")).await.unwrap());
        etcd.kill();
        let unread = store.load().await;
        assert!(matches!(unread, Err(StoreError::Unavailable(_))), "{unread:?}");
        let down = store.commit(&leadership, put("topics/a", "lost")).await;
        assert!(
            matches!(down, Err(CommitError::Unavailable(_))),
            "nobody listens: {down:?}"
        );
        etcd.start_again().await;
        for n in 0..3 {
            let value = format!("{round}.{n}");
            written.push(soon("a commit", commit_again(&store, &leadership, &value)).await);
        }
    }
    for revision in &written[1..] {
        assert_eq!(soon("an event", watch.next()).await.unwrap().revision, *revision);
    }
    assert!(!leadership.lost().is_cancelled(), "the lease was long enough");
}

/// etcd that has just started has no leader yet.
async fn commit_again(store: &EtcdStore, leadership: &Leadership, value: &str) -> Revision {
    loop {
        match store.commit(leadership, put("topics/a", value)).await {
            Ok(revision) => return revision,
            Err(CommitError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_compacted_watch_says_so_unless_nothing_of_ours_is_missing() {
    let mut etcd = etcd().await;
    let (store, mut raw) = (store(&etcd, "c").await, etcd.client().await);
    let leadership = store.campaign("one").await.unwrap();
    let first = store.commit(&leadership, put("topics/a", "1")).await.unwrap();
    let second = store.commit(&leadership, put("topics/a", "2")).await.unwrap();
    let mut idle = store.watch(second).await.unwrap();
    let mut newest = 0;
    for _ in 0..10 {
        newest = raw.put("/other", "x", None).await.unwrap().header().unwrap().revision();
    }
    raw.compact(newest, None).await.unwrap();
    let mut behind = store.watch(first).await.unwrap();
    let error = soon("the end of the watch", behind.next()).await.unwrap_err();
    assert_eq!(error, WatchError::Compacted { after: first });
    // One that has all of ours goes on, also over a new connection.
    let mut up_to_date = store.watch(second).await.unwrap();
    etcd.kill();
    etcd.start_again().await;
    // These two and that of the election.
    soon("the watches", async {
        while etcd.watches().await < 3 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    drop(leadership);
    let leadership = soon("the election", store.campaign("two")).await.unwrap();
    let third = store.commit(&leadership, put("topics/a", "3")).await.unwrap();
    for watch in [&mut idle, &mut up_to_date] {
        let elected = soon("the election's event", watch.next()).await.unwrap();
        assert_eq!((elected.revision, elected.operations.len()), (leadership.created(), 0));
        assert_eq!(soon("the third event", watch.next()).await.unwrap().revision, third);
    }
}

#[tokio::test]
async fn where_nothing_happens_nothing_is_given_up() {
    let etcd = etcd().await;
    let store = EtcdStore::connect_from(etcd.config("c"), 0).await.unwrap();
    let leadership = store.campaign("one").await.unwrap();
    let mut watch = store.watch(leadership.created()).await.unwrap();
    // Long enough for watches to ask for a sign of life, and to miss it if there is none.
    let quiet = tokio::time::timeout(Duration::from_millis(3_500), watch.next()).await;
    assert!(quiet.is_err());
    assert_eq!(store.inner.endpoints.turn(), 0, "etcd answered all the time");
    // And a watch that hears nothing any more is noticed.
    etcd.freeze();
    soon("a new connection", async {
        while store.inner.endpoints.turn() == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    etcd.thaw();
}

#[tokio::test]
async fn a_watch_of_a_store_that_went_back_ends() {
    let (etcd, restored) = (etcd().await, etcd().await);
    let store = store(&restored, "c").await;
    let leadership = store.campaign("one").await.unwrap();
    let later = Revision(leadership.created().get() + 100);
    let error = soon("the end", store.watch(later).await.unwrap().next())
        .await
        .unwrap_err();
    assert_eq!(error, WatchError::Compacted { after: later });
    drop(etcd);
}

#[tokio::test]
async fn a_leadership_that_a_backup_knows_ends_with_the_restore_of_it() {
    for commits in [false, true] {
        let mut etcd = etcd().await;
        let backup = tempfile::tempdir().unwrap();
        let mut config = etcd.config("c");
        config.lease_ttl = Duration::from_secs(10);
        let store = EtcdStore::connect(config).await.unwrap();
        let leadership = store.campaign("one").await.unwrap();
        soon("a commit", commit_again(&store, &leadership, "old")).await;
        etcd.kill();
        etcd.back_up(backup.path());
        etcd.start_again().await;
        for _ in 0..5 {
            soon("a commit", commit_again(&store, &leadership, "new")).await;
        }
        etcd.kill();
        etcd.restore(backup.path());
        etcd.start_again().await;
        if commits {
            // Without a guard that tells it: the answer does.
            let committed = async {
                loop {
                    match store.commit(&leadership, put("topics/b", "on what is gone")).await {
                        // It has just started and has no leader yet.
                        Err(CommitError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
                        other => break other,
                    }
                }
            };
            let answer = soon("an answer", committed).await;
            assert!(
                matches!(answer, Err(CommitError::Unknown(_) | CommitError::Deposed)),
                "{answer:?}"
            );
        }
        soon("the end", leadership.lost().cancelled()).await;
        assert!(!store.holds(&leadership));
    }
}

#[tokio::test]
async fn what_is_still_under_way_when_an_outcome_is_unknown_never_happens() {
    let etcd = etcd().await;
    let network = Proxy::to(etcd.address()).await;
    let mut config = etcd.config("c");
    config.endpoints = vec![network.url().to_owned(), etcd.url().to_owned()];
    config.request_timeout = Duration::from_millis(400);
    config.lease_ttl = Duration::from_secs(10);
    let store = EtcdStore::connect_from(config, 0).await.unwrap();
    let leadership = store.campaign("one").await.unwrap();
    let first = store.commit(&leadership, put("topics/a", "first")).await.unwrap();
    network.set(Mode::Hold);
    let delayed = Transaction {
        guards: vec![crate::store::Guard {
            key: "topics/a".to_owned(),
            modified: first,
        }],
        ..put("topics/a", "delayed")
    };
    let (unknown, ()) = tokio::join!(store.commit(&leadership, delayed), async {
        // The request is kept; that the client gave it up never arrives.
        tokio::time::sleep(Duration::from_millis(200)).await;
        network.set(Mode::Sever);
    });
    assert!(matches!(unknown, Err(CommitError::Unknown(_))), "{unknown:?}");
    let read_back = store.load().await.unwrap();
    let mut watch = store.watch(read_back.revision).await.unwrap();
    network.release();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        store.load().await.unwrap(),
        read_back,
        "what was read back is what there is"
    );
    assert_eq!(content(&store).await, [("topics/a".to_owned(), "first".to_owned())]);
    // And this controller goes on.
    let next = store.commit(&leadership, put("topics/b", "next")).await.unwrap();
    assert_eq!(soon("the next event", watch.next()).await.unwrap().revision, next);
    assert!(!leadership.lost().is_cancelled());
}

#[tokio::test]
async fn an_unknown_outcome_that_happened_is_read_back() {
    let etcd = etcd().await;
    let network = Proxy::to(etcd.address()).await;
    let mut config = etcd.config("c");
    config.endpoints = vec![network.url().to_owned(), etcd.url().to_owned()];
    config.request_timeout = Duration::from_millis(400);
    config.lease_ttl = Duration::from_secs(10);
    let store = EtcdStore::connect_from(config, 0).await.unwrap();
    let leadership = store.campaign("one").await.unwrap();
    store.commit(&leadership, put("topics/a", "1")).await.unwrap();
    network.set(Mode::LoseAnswers);
    let unknown = store.commit(&leadership, put("topics/a", "2")).await;
    assert!(matches!(unknown, Err(CommitError::Unknown(_))), "{unknown:?}");
    assert_eq!(content(&store).await, [("topics/a".to_owned(), "2".to_owned())]);
    store.commit(&leadership, put("topics/a", "3")).await.unwrap();
}

#[tokio::test]
async fn without_etcd_an_unknown_outcome_ends_the_leadership() {
    let etcd = etcd().await;
    let mut config = etcd.config("c");
    (config.lease_ttl, config.request_timeout) = (Duration::from_secs(2), Duration::from_millis(200));
    let store = EtcdStore::connect(config).await.unwrap();
    let leadership = store.campaign("one").await.unwrap();
    etcd.freeze();
    let unknown = soon("the outcome", store.commit(&leadership, put("topics/a", "1"))).await;
    assert!(matches!(unknown, Err(CommitError::Unknown(_))), "{unknown:?}");
    assert!(leadership.lost().is_cancelled());
    etcd.thaw();
    let refused = store.commit(&leadership, put("topics/a", "2")).await;
    assert!(matches!(refused, Err(CommitError::Deposed)), "{refused:?}");
}

#[tokio::test]
async fn an_etcd_out_of_quota_takes_nothing_and_goes_on_when_it_has_room() {
    let options = Options {
        arguments: ["--quota-backend-bytes", "1000000"].map(str::to_owned).to_vec(),
        ..Options::default()
    };
    let etcd = etcd_with(options).await;
    let (store, mut raw) = (store(&etcd, "c").await, etcd.client().await);
    let leadership = store.campaign("one").await.unwrap();
    let first = store.commit(&leadership, put("topics/a", "1")).await.unwrap();
    let mut watch = store.watch(first).await.unwrap();
    for n in 0.. {
        if raw.put(format!("/filler/{n}"), vec![0; 100_000], None).await.is_err() {
            break;
        }
    }
    let refused = store.commit(&leadership, put("topics/a", "2")).await.unwrap_err();
    let CommitError::Unavailable(reason) = refused else {
        panic!("{refused:?}")
    };
    assert!(reason.contains("database space exceeded"), "{reason}");
    assert_eq!(
        content(&store).await,
        [("topics/a".to_owned(), "1".to_owned())],
        "reading goes on"
    );
    // What an operator does.
    let deleted = raw
        .delete("/filler/", Some(etcd_client::DeleteOptions::new().with_prefix()))
        .await
        .unwrap();
    let now = Some(etcd_client::CompactionOptions::new().with_physical());
    raw.compact(deleted.header().unwrap().revision(), now).await.unwrap();
    raw.defragment().await.unwrap();
    let alarms = raw.alarm(AlarmAction::Get, AlarmType::Nospace, None).await.unwrap();
    let mut member = AlarmOptions::new();
    member.with_member(alarms.alarms()[0].member_id());
    raw.alarm(AlarmAction::Deactivate, AlarmType::Nospace, Some(member))
        .await
        .unwrap();
    let second = soon("room", async {
        loop {
            match store.commit(&leadership, put("topics/a", "2")).await {
                Ok(revision) => return revision,
                Err(CommitError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(other) => panic!("{other}"),
            }
        }
    })
    .await;
    assert_eq!(soon("the event", watch.next()).await.unwrap().revision, second);
}

#[tokio::test]
async fn a_lost_member_of_etcd_costs_a_moment_and_not_the_leadership() {
    let mut etcd = EtcdCluster::start(3, &Options::default()).await;
    let mut config = etcd.config("c");
    (config.lease_ttl, config.request_timeout) = (Duration::from_secs(6), Duration::from_millis(700));
    let store = EtcdStore::connect_from(config, 0).await.unwrap();
    let leadership = store.campaign("one").await.unwrap();
    let mut watch = store.watch(leadership.created()).await.unwrap();
    store.commit(&leadership, put("topics/a", "0")).await.unwrap();
    // The member that is talked to hangs; then the one that is talked to instead dies.
    etcd.members[0].freeze();
    let mut value = 0;
    let mut go_on = async || {
        value += 1;
        let text = value.to_string();
        loop {
            match store.commit(&leadership, put("topics/a", &text)).await {
                Ok(_) => return text,
                Err(CommitError::Unknown(_)) if content(&store).await[0].1 == text => return text,
                Err(CommitError::Unknown(_) | CommitError::Unavailable(_)) => {}
                Err(other) => panic!("{other}"),
            }
        }
    };
    soon("a commit beside a frozen member", go_on()).await;
    etcd.members[0].thaw();
    etcd.members[1].kill();
    let last = soon("a commit after a member's death", go_on()).await;
    let expected = put("topics/a", &last).operations;
    soon("the last event", async {
        while watch.next().await.unwrap().operations != expected {}
    })
    .await;
    assert!(!leadership.lost().is_cancelled());
}
