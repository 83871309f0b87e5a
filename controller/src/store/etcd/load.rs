//! Reading everything: in pages, all at one revision.

use bytes::Bytes;
use etcd_client::{Client, GetOptions, GetResponse, KeyValue};
use highwater_proto::types::Revision;

use crate::store::etcd::endpoints::Endpoints;
use crate::store::etcd::failure::{Failure, header_revision};
use crate::store::etcd::keys::Keys;
use crate::store::{Entry, Loaded};

/// Keys of one page, of some hundred bytes each. etcd counts all that is left for every page: many small ones take time
/// that grows with the square of the keys.
pub(super) const PAGE_KEYS: i64 = 25_000;
/// Largest page that is taken, in bytes.
const MAX_PAGE_BYTES: usize = 256 << 20;
/// How often a load begins anew because its revision was compacted meanwhile.
const ATTEMPTS: usize = 3;

/// Everything, linearizably.
pub(super) async fn load(endpoints: &Endpoints, keys: &Keys, page_keys: i64) -> Result<Loaded, Failure> {
    let mut outcome = load_once(endpoints, keys, page_keys).await;
    for _ in 1..ATTEMPTS {
        if !matches!(outcome, Err(Failure::Compacted)) {
            break;
        }
        outcome = load_once(endpoints, keys, page_keys).await;
    }
    outcome
}

async fn load_once(endpoints: &Endpoints, keys: &Keys, page_keys: i64) -> Result<Loaded, Failure> {
    let mut loaded = Loaded::default();
    let (end, marker) = (keys.end(), keys.marker());
    // The first page is of the newest revision, and says which that is; the others are of the same.
    let mut revision = 0;
    let mut start = keys.prefix().as_bytes().to_vec();
    loop {
        let page = |client| {
            let options = GetOptions::new().with_range(end.as_str());
            let options = options.with_limit(page_keys).with_revision(revision);
            page(client, start.clone(), options)
        };
        let mut page = endpoints.repeat(page).await?;
        if revision == 0 {
            revision = header_revision(page.header())?;
        }
        let more = page.more();
        let found = page.take_kvs();
        let Some(last) = found.last() else { break };
        start = last.key().to_vec();
        start.push(0);
        for entry in found {
            if entry.key() == marker.as_bytes() {
                loaded.revision = Revision(entry.mod_revision());
            } else if let Some(entry) = read(keys, entry) {
                loaded.entries.push(entry);
            }
        }
        if !more {
            break;
        }
    }
    Ok(loaded)
}

async fn page(client: Client, start: Vec<u8>, options: GetOptions) -> Result<GetResponse, etcd_client::Error> {
    let mut kv = client.kv_client().max_decoding_message_size(MAX_PAGE_BYTES);
    kv.get(start, Some(options)).await
}

fn read(keys: &Keys, found: KeyValue) -> Option<Entry> {
    let (key, modified) = (keys.own(&found)?, Revision(found.mod_revision()));
    let (_, value) = found.into_key_value();
    let value = Bytes::from(value);
    Some(Entry { key, value, modified })
}
