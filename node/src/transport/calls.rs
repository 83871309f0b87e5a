//! Counts the gRPC calls that a process answers, by service and method: also what its parts ask of each other through
//! memory, so that nothing which should be a call can be anything else unseen.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tonic::codegen::http::{Request, Response};
use tower::{Layer, Service};

use crate::telemetry::Metrics;
use crate::transport::PeerAddress;

/// gRPC's status "unimplemented", as the header carries it.
const UNIMPLEMENTED: &[u8] = b"12";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    service: String,
    method: String,
}

/// Calls answered so far. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct CallCounts {
    calls: Family<Labels, Counter>,
}

impl CallCounts {
    /// Counts that show in `metrics` as `highwater_grpc_requests_total{service, method}`.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let counts = Self::default();
        let help = "gRPC calls answered; a stream counts when it begins";
        metrics.register("highwater_grpc_requests", help, counts.calls.clone());
        counts
    }

    /// How often a method (`highwater.v1.Broker`, `OpenShard`) was answered.
    #[must_use]
    pub fn get(&self, service: &str, method: &str) -> u64 {
        let labels = Labels {
            service: service.to_owned(),
            method: method.to_owned(),
        };
        self.calls.get(&labels).map_or(0, |count| count.get())
    }

    fn answered(&self, path: &str) {
        if let Some((service, method)) = path.trim_start_matches('/').split_once('/') {
            let labels = Labels {
                service: service.to_owned(),
                method: method.to_owned(),
            };
            self.calls.get_or_create(&labels).inc();
        }
    }
}

/// What a server knows of a connection.
#[derive(Clone, Debug)]
pub struct ConnectInfo {
    pub(crate) peer: PeerAddress,
    pub(crate) counts: Option<CallCounts>,
}

/// Counts the calls of connections whose listener counts, and says to handlers where a call comes from.
#[derive(Clone, Copy, Debug)]
pub struct CountCalls;

impl<S> Layer<S> for CountCalls {
    type Service = Counting<S>;

    fn layer(&self, inner: S) -> Counting<S> {
        Counting { inner }
    }
}

/// A service whose calls are counted.
#[derive(Clone, Debug)]
pub struct Counting<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Counting<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let info = request.extensions().get::<ConnectInfo>().cloned();
        if let Some(info) = &info {
            request.extensions_mut().insert(info.peer.clone());
        }
        let counts = info.and_then(|info| info.counts);
        let path = counts.is_some().then(|| request.uri().path().to_owned());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            // A name that nobody serves is the caller's invention: it must not become a label.
            let served = response
                .headers()
                .get("grpc-status")
                .is_none_or(|status| status != UNIMPLEMENTED);
            if let (Some(counts), Some(path), true) = (counts, path, served) {
                counts.answered(&path);
            }
            Ok(response)
        })
    }
}
