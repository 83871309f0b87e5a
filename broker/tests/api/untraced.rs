use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::fetch::{only, request as fetch_request, values};
use crate::produce::produce;
use crate::support::{TestBroker, batch};

static SPANS: AtomicUsize = AtomicUsize::new(0);

/// Counts the spans that our code begins, of any kind.
struct CountSpans;

impl Subscriber for CountSpans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span()
            && ["highwater", "api"]
                .iter()
                .any(|start| metadata.target().starts_with(start))
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        let number = SPANS.fetch_add(1, Ordering::Relaxed) + 1;
        Id::from_u64(u64::try_from(number).unwrap())
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Counts for the whole test binary: none of its brokers takes traces.
#[tokio::test]
async fn where_traces_are_off_a_request_begins_no_span() {
    tracing::subscriber::set_global_default(CountSpans).expect("nobody else listens");
    let broker = TestBroker::start().await;
    broker.create("t", 1, &[]).await;
    let mut client = broker.connect().await;
    for offset in 0..10 {
        let answer = produce(&mut client, "t", -1, batch(&["v"])).await;
        assert_eq!(answer.base_offset, offset);
        let response = client.call(12, &fetch_request(12, "t", 0, offset)).await;
        assert_eq!(values(only(&response).records.as_ref()), ["v"]);
    }
    assert_eq!(SPANS.load(Ordering::Relaxed), 0);
    let _span = tracing::error_span!("one");
    assert_eq!(SPANS.load(Ordering::Relaxed), 1, "it would have been counted");
}
