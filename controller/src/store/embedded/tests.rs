use std::io::Write as _;

use super::*;
use crate::store::conformance;

#[tokio::test]
async fn conforms() {
    let folders = std::cell::RefCell::new(Vec::new());
    conformance::run(|| {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(folder.path()).unwrap();
        folders.borrow_mut().push(folder);
        std::future::ready(store)
    })
    .await;
}

async fn put(store: &EmbeddedStore, leadership: &Leadership, key: &str, value: &str) -> Revision {
    let operations = vec![Operation::Put(key.to_owned(), Bytes::copy_from_slice(value.as_bytes()))];
    store
        .commit(
            leadership,
            Transaction {
                guards: Vec::new(),
                operations,
            },
        )
        .await
        .unwrap()
}

#[tokio::test]
async fn a_second_opening_of_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _first = EmbeddedStore::open(folder.path()).unwrap();
    let error = EmbeddedStore::open(folder.path()).err().unwrap();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("in use by another process"), "{error}");
}

#[tokio::test]
async fn what_was_committed_is_there_when_the_file_is_copied_under_load() {
    // A copy of the file at any moment is what a killed process leaves, as the kernel keeps what was written.
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path()).unwrap();
    let leadership = store.campaign("one").await.unwrap();
    let mut last = Revision(0);
    for round in 0..20 {
        last = put(&store, &leadership, "topics/a", &round.to_string()).await;
        if round % 5 == 4 {
            let copy = tempfile::tempdir().unwrap();
            std::fs::copy(folder.path().join(FILE_NAME), copy.path().join(FILE_NAME)).unwrap();
            let reopened = EmbeddedStore::open(copy.path()).unwrap();
            let loaded = reopened.load().await.unwrap();
            assert_eq!(loaded.revision, last);
            let entry = loaded.entries.iter().find(|entry| entry.key == "topics/a").unwrap();
            assert_eq!((&entry.value[..], entry.modified), (round.to_string().as_bytes(), last));
        }
    }
    drop((leadership, store));
    let reopened = EmbeddedStore::open(folder.path()).unwrap();
    assert_eq!(reopened.load().await.unwrap().revision, last, "revisions never go back");
    let leadership = reopened.campaign("two").await.unwrap();
    assert!(leadership.created() > last);
}

#[tokio::test]
async fn a_damaged_file_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    drop(EmbeddedStore::open(folder.path()).unwrap());
    let path = folder.path().join(FILE_NAME);
    let mut file = File::options().write(true).open(&path).unwrap();
    file.write_all(&[0xAA; 512]).unwrap();
    drop(file);
    let error = EmbeddedStore::open(folder.path()).err().unwrap().to_string();
    assert!(error.contains(FILE_NAME), "{error}");
}
