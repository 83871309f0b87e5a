//! The store on real etcd processes, and on networks that fail.

mod faults;
mod leadership;
mod proxy;
mod security;
mod server;

use bytes::Bytes;

use super::*;
use crate::store::conformance;
use crate::store::etcd::tests::server::{EtcdServer, etcd};
use crate::store::{Operation, WatchError, WatchEvent};

/// Longer than anything here takes, if it happens at all.
const SOON: Duration = Duration::from_secs(20);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let outcome = tokio::time::timeout(SOON, future).await;
    outcome.unwrap_or_else(|_| panic!("{what}: not within {SOON:?}"))
}

fn put(key: &str, value: &str) -> Transaction {
    Transaction {
        guards: Vec::new(),
        operations: vec![Operation::Put(key.to_owned(), Bytes::copy_from_slice(value.as_bytes()))],
    }
}

/// Keys and values, without the election's.
async fn content(store: &EtcdStore) -> Vec<(String, String)> {
    let entries = store.load().await.unwrap().entries.into_iter();
    let ours = entries.filter(|entry| !entry.key.starts_with("election/"));
    ours.map(|entry| (entry.key, String::from_utf8(entry.value.to_vec()).unwrap()))
        .collect()
}

async fn store(etcd: &EtcdServer, name: &str) -> EtcdStore {
    EtcdStore::connect(etcd.config(name)).await.unwrap()
}

#[tokio::test]
async fn conforms() {
    let etcd = etcd().await;
    let clusters = std::cell::Cell::new(0);
    conformance::run(|| {
        clusters.set(clusters.get() + 1);
        let config = etcd.config(&format!("c{}", clusters.get()));
        async { EtcdStore::connect(config).await.unwrap() }
    })
    .await;
}

#[tokio::test]
async fn what_others_write_is_no_revision_of_ours() {
    let etcd = etcd().await;
    let (store, mut other) = (store(&etcd, "ours").await, etcd.client().await);
    let leadership = store.campaign("one").await.unwrap();
    let first = store.commit(&leadership, put("topics/a", "1")).await.unwrap();
    let mut watch = store.watch(first).await.unwrap();
    for n in 0..5 {
        other
            .put("/highwater/ours-too/topics/a", n.to_string(), None)
            .await
            .unwrap();
    }
    let loaded = store.load().await.unwrap();
    assert_eq!(loaded.revision, first, "a revision that watches show too");
    assert!(
        loaded.entries.iter().all(|entry| entry.key != "revision"),
        "the mark is the store's own"
    );
    let second = store.commit(&leadership, put("topics/a", "2")).await.unwrap();
    assert_eq!(second.get(), first.get() + 6);
    let expected = WatchEvent {
        revision: second,
        operations: put("topics/a", "2").operations,
    };
    assert_eq!(soon("the watch", watch.next()).await.unwrap(), expected);
}

#[tokio::test]
async fn a_load_is_of_one_revision_however_many_pages_it_has() {
    let etcd = etcd().await;
    let store = store(&etcd, "paged").await;
    let leadership = store.campaign("one").await.unwrap();
    const KEYS: usize = 5_000;
    let keys: Vec<usize> = (0..KEYS).collect();
    for keys in keys.chunks(127) {
        let operations = keys.iter().map(|n| put(&format!("topics/{n:05}"), "x").operations);
        let operations = operations.flatten().collect();
        let transaction = Transaction {
            guards: Vec::new(),
            operations,
        };
        store.commit(&leadership, transaction).await.unwrap();
    }
    // One writer changes the first and the last key together, all the time.
    let writing = {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0.. {
                let mut both = put("topics/00000", &n.to_string());
                both.operations.extend(put("topics/99999", &n.to_string()).operations);
                store.commit(&leadership, both).await.unwrap();
            }
        })
    };
    let mut values = std::collections::BTreeSet::new();
    while values.len() < 3 {
        let loaded = load::load(&store.inner.endpoints, &store.inner.keys, 1_000)
            .await
            .unwrap();
        let value = |key: &str| {
            loaded
                .entries
                .iter()
                .find(|entry| entry.key == key)
                .map(|entry| entry.value.clone())
        };
        let Some(last) = value("topics/99999") else { continue };
        assert_eq!(value("topics/00000").unwrap(), last);
        assert_eq!(loaded.entries.len(), KEYS + 2, "with the election's key");
        let newest = loaded.entries.iter().map(|entry| entry.modified).max();
        assert_eq!(newest, Some(loaded.revision));
        values.insert(last);
    }
    writing.abort();
}
