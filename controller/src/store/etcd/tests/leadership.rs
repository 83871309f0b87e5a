//! Who may commit, and until when.

use std::time::Instant;

use super::proxy::{Mode, Proxy};
use super::*;

#[tokio::test]
async fn a_candidate_takes_over_as_soon_as_the_leader_resigns() {
    let etcd = etcd().await;
    let (first, second) = (store(&etcd, "c").await, store(&etcd, "c").await);
    let leading = first.campaign("first:9190").await.unwrap();
    let waiting = tokio::spawn(async move { (second.campaign("second:9190").await.unwrap(), Instant::now(), second) });
    let mut leader = first.leader();
    soon(
        "the first leader's name",
        leader.wait_for(|name| name.as_deref() == Some("first:9190")),
    )
    .await
    .unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished());
    let resigned = Instant::now();
    first.resign(leading).await;
    let (leadership, won, second) = soon("the take-over", waiting).await.unwrap();
    assert!(
        won - resigned < Duration::from_secs(1),
        "not by the end of a lease: {:?}",
        won - resigned
    );
    soon(
        "the second leader's name",
        leader.wait_for(|name| name.as_deref() == Some("second:9190")),
    )
    .await
    .unwrap();
    second.commit(&leadership, put("topics/a", "1")).await.unwrap();
}

#[tokio::test]
async fn a_leader_that_is_cut_off_stops_by_its_own_clock_before_another_leads() {
    let etcd = etcd().await;
    let network = Proxy::to(etcd.address()).await;
    let mut config = etcd.config("c");
    config.lease_ttl = Duration::from_secs(3);
    let second = EtcdStore::connect(config.clone()).await.unwrap();
    config.endpoints = vec![network.url().to_owned()];
    let first = EtcdStore::connect(config).await.unwrap();
    let leading = first.campaign("first").await.unwrap();
    // Longer than the lease: it is renewed.
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    assert!(!leading.lost().is_cancelled());
    let cut = Instant::now();
    network.set(Mode::Lose);
    let waiting = tokio::spawn(async move { (second.campaign("second").await.unwrap(), Instant::now(), second) });
    soon("the end of the first", leading.lost().cancelled()).await;
    let lost = Instant::now();
    assert!(
        lost - cut <= Duration::from_millis(2_300),
        "two thirds of the lease: {:?}",
        lost - cut
    );
    let late = first.commit(&leading, put("topics/a", "late")).await;
    assert!(matches!(late, Err(CommitError::Deposed)), "{late:?}");
    let (leadership, won, second) = soon("the take-over", waiting).await.unwrap();
    assert!(lost < won, "never two");
    second.commit(&leadership, put("topics/a", "1")).await.unwrap();
}

#[tokio::test]
async fn a_process_that_did_not_run_for_a_while_does_not_act() {
    let etcd = etcd().await;
    let mut config = etcd.config("c");
    config.lease_ttl = Duration::from_secs(2);
    let store = EtcdStore::connect(config).await.unwrap();
    let leadership = store.campaign("one").await.unwrap();
    store.commit(&leadership, put("topics/a", "1")).await.unwrap();
    // Nothing of this runtime runs, no timer either, as when the process is stopped. etcd still keeps the lease.
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(!store.holds(&leadership));
    let late = store.commit(&leadership, put("topics/a", "2")).await;
    assert!(matches!(late, Err(CommitError::Deposed)), "{late:?}");
    soon("the end", leadership.lost().cancelled()).await;
}

#[tokio::test]
async fn etcd_refuses_a_leader_that_does_not_know_it_was_deposed() {
    let etcd = etcd().await;
    let (first, second, mut raw) = (store(&etcd, "c").await, store(&etcd, "c").await, etcd.client().await);
    let deposed = first.campaign("first").await.unwrap();
    first.commit(&deposed, put("topics/a", "1")).await.unwrap();
    // Its lease lives, and its own clock says nothing.
    raw.delete("/highwater/c/election/leader", None).await.unwrap();
    let leadership = soon("the election", second.campaign("second")).await.unwrap();
    let refused = first.commit(&deposed, put("topics/a", "2")).await;
    assert!(matches!(refused, Err(CommitError::Deposed)), "{refused:?}");
    assert!(deposed.lost().is_cancelled());
    assert_eq!(content(&second).await, [("topics/a".to_owned(), "1".to_owned())]);
    second.commit(&leadership, put("topics/a", "3")).await.unwrap();
}

#[tokio::test]
async fn a_lease_that_etcd_ended_ends_the_leadership_at_once() {
    let etcd = etcd().await;
    let mut config = etcd.config("c");
    config.lease_ttl = Duration::from_secs(30);
    let (store, mut raw) = (EtcdStore::connect(config).await.unwrap(), etcd.client().await);
    let leadership = store.campaign("one").await.unwrap();
    let lease = raw.leases().await.unwrap().leases()[0].id();
    raw.lease_revoke(lease).await.unwrap();
    // Noticed by the next renewal, long before the lease's time.
    soon("the end", leadership.lost().cancelled()).await;
}

#[tokio::test]
async fn a_campaign_waits_for_etcd_and_leaves_nothing_behind_when_it_is_given_up() {
    let mut etcd = etcd().await;
    let (store, mut raw) = (store(&etcd, "c").await, etcd.client().await);
    etcd.kill();
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { store.campaign("one").await.unwrap() })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished());
    etcd.start_again().await;
    let leadership = soon("the election", waiting).await.unwrap();
    let given_up = tokio::time::timeout(Duration::from_millis(100), store.campaign("two")).await;
    assert!(given_up.is_err());
    assert_eq!(
        raw.leases().await.unwrap().leases().len(),
        1,
        "only the leader has a lease"
    );
    store.resign(leadership).await;
    assert_eq!(raw.leases().await.unwrap().leases().len(), 0, "and gives it back");
}
