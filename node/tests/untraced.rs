//! Traces cost nothing where they are off, which is how a process starts: nothing is allocated for them and no span is
//! begun. A test of its own: traces are taken in a whole process or not at all.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../proto/tests/kafka/allocations.rs"]
mod allocations;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use highwater_node::telemetry::Trace;
use highwater_node::transport::JoinTraces;
use tonic::codegen::http::Request;
use tower::{Layer as _, Service};

use crate::allocations::counted;

const HEADER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Answers at once whether it works within a span.
struct Answers;

impl<B> Service<Request<B>> for Answers {
    type Response = bool;
    type Error = Infallible;
    type Future = Ready<Result<bool, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        ready(Ok(Trace::current().is_some()))
    }
}

fn done<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits for nothing"),
    }
}

#[test]
fn nothing_is_begun_and_nothing_allocated() {
    let (begun, bytes) = counted(|| {
        [
            Trace::root("Produce").is_some(),
            Trace::background("AlterPartitions").is_some(),
            Trace::join(HEADER, "Produce").is_some(),
            Trace::current().is_some(),
            done(Trace::scope_of(None, async { Trace::current().is_some() })),
        ]
    });
    assert_eq!((begun, bytes), ([false; 5], 0));
}

#[test]
fn a_call_that_others_follow_is_passed_on_as_it_is() {
    let request = || {
        let builder = Request::builder().uri("/highwater.v1.Broker/AppendShard");
        builder.header("traceparent", HEADER).body(()).unwrap()
    };
    let mut served = JoinTraces.layer(Answers);
    let request = request();
    let (within, bytes) = counted(|| {
        let call = served.call(request);
        done(call).unwrap()
    });
    assert!(!within, "no span");
    // The request is dropped by who serves it: that frees, and allocates nothing.
    assert_eq!(bytes, 0);
}
