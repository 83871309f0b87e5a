//! A disk on which a flush takes long: what the network workers leave to others then.

use std::pin::pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread::ThreadId;
use std::time::Duration;

use highwater_broker::log::{FlushOutcome, FlushSlot, FlushTarget, FlushTicket};
use highwater_broker::partition::{Isolation, Partition, ReadRequest, WaiterGuard, Waiting};
use highwater_proto::kafka::messages::produce::ProduceRequest;
use highwater_proto::types::Offset;

use crate::fetch::{only as fetched, request as fetch_request, values};
use crate::produce::{only, produce, request};
use crate::support::{Client, TestBroker, batch, topic_id};

/// A partition whose flush lasts until the other end of the channel is dropped.
struct Stalled {
    until: Mutex<mpsc::Receiver<()>>,
    slot: FlushSlot,
}

impl FlushTarget for Stalled {
    fn take_ticket(&self) -> Option<FlushTicket> {
        let _ = self.until.lock().unwrap().recv();
        None
    }

    fn flushed(&self, _: FlushOutcome) {}

    fn flush_slot(&self) -> &FlushSlot {
        &self.slot
    }
}

/// Remembers the thread that wakes it.
#[derive(Default)]
struct WokenBy(Mutex<Option<ThreadId>>);

impl Wake for WokenBy {
    fn wake(self: Arc<Self>) {
        *self.0.lock().unwrap() = Some(std::thread::current().id());
    }
}

/// The thread on which a batch is appended: the one that wakes readers who wait at the log end.
async fn appended_by(client: &mut Client, partition: &Partition) -> ThreadId {
    let guard = WaiterGuard::new();
    let at_the_end = ReadRequest {
        current_leader_epoch: None,
        offset: partition.ends().unwrap().log_end,
        last_fetched_epoch: None,
        max_bytes: 1,
        at_least_one: true,
        isolation: Isolation::LogEnd,
        follower: None,
    };
    let waiter = || Arc::clone(guard.waiter());
    let waiting = Waiting {
        enough: 1,
        waiter: &waiter,
    };
    partition.read(&at_the_end, Some(&waiting)).unwrap();
    let woken_by = Arc::new(WokenBy::default());
    let waker = Waker::from(Arc::clone(&woken_by));
    let mut woken = pin!(guard.waiter().woken());
    assert!(woken.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(produce(client, "t", 1, batch(&["a"])).await.error_code, 0);
    let by = *woken_by.0.lock().unwrap();
    by.expect("an append wakes whoever waits at the log end")
}

/// "A worker never appends to a disk whose flush is older than 100 ms: such appends queue, bounded, on a blocking
/// thread." All network workers of this broker are the thread of the test.
#[tokio::test]
async fn a_worker_never_appends_to_a_disk_whose_flush_is_older_than_100_ms() {
    let worker = std::thread::current().id();
    let broker = TestBroker::start().await;
    broker.create("t", 1, &[]).await;
    let partition = broker.broker.partitions().get(topic_id("t"), 0.into()).unwrap();
    let mut client = broker.connect().await;
    assert_ne!(
        appended_by(&mut client, &partition).await,
        worker,
        "the first append creates files"
    );
    assert_eq!(appended_by(&mut client, &partition).await, worker);

    let (let_go, until) = mpsc::channel::<()>();
    let stalled: Arc<dyn FlushTarget> = Arc::new(Stalled {
        until: Mutex::new(until),
        slot: FlushSlot::default(),
    });
    let flusher = broker.broker.partitions().flusher();
    flusher.submit(&stalled);
    while flusher.oldest_unfinished() <= Duration::from_millis(100) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for _ in 0..3 {
        assert_ne!(appended_by(&mut client, &partition).await, worker);
    }
    // More than are let in at a time, each connection with several on the way.
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = broker.connect().await;
        for _ in 0..3 {
            client.send(9, &request(9, "t", 0, 1, Some(batch(&["a"])))).await;
        }
        clients.push(client);
    }
    let mut offsets = Vec::new();
    for client in &mut clients {
        let mut own = Vec::new();
        for _ in 0..3 {
            let (_, response) = client.receive::<ProduceRequest>(9).await;
            assert_eq!(only(&response).error_code, 0);
            own.push(only(&response).base_offset);
        }
        assert!(own.is_sorted(), "in the order of arrival");
        offsets.extend(own);
    }
    offsets.sort_unstable();
    assert_eq!(offsets, (5..65).collect::<Vec<_>>());

    drop(let_go);
    while !flusher.oldest_unfinished().is_zero() {
        tokio::task::yield_now().await;
    }
    assert_eq!(appended_by(&mut client, &partition).await, worker);
    assert_eq!(produce(&mut client, "t", -1, batch(&["end"])).await.error_code, 0);
    assert_eq!(partition.ends().unwrap().high_watermark, Offset(67));
    let response = client.call(12, &fetch_request(12, "t", 0, 0)).await;
    assert_eq!(values(fetched(&response).records.as_ref()).len(), 67);
}
