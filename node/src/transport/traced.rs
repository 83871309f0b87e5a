//! W3C's trace context on the calls between our processes: each call that is made within a span carries it, and each that
//! carries one is served within a span of its own. Calls that are not followed are passed on as they are.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::Either;
use tonic::body::Body;
use tonic::codegen::http::{HeaderValue, Request, Response};
use tonic::transport::channel::ResponseFuture;
use tower::{Layer, Service};

use crate::telemetry::Trace;
use crate::telemetry::trace::{TRACEPARENT, is_on};

/// A gRPC channel to another process; see [`Dialer::channel`](crate::transport::Dialer::channel). Clones share the connection.
#[derive(Clone, Debug)]
pub struct Channel(tonic::transport::Channel);

impl From<tonic::transport::Channel> for Channel {
    fn from(inner: tonic::transport::Channel) -> Self {
        Self(inner)
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> ResponseFuture {
        if let Some(trace) = Trace::current()
            && let Ok(header) = HeaderValue::try_from(trace.traceparent())
        {
            request.headers_mut().insert(TRACEPARENT, header);
        }
        self.0.call(request)
    }
}

/// Serves calls that carry a trace within a span of it, which is named after the method.
#[derive(Clone, Copy, Debug)]
pub struct JoinTraces;

impl<S> Layer<S> for JoinTraces {
    type Service = Joining<S>;

    fn layer(&self, inner: S) -> Joining<S> {
        Joining { inner }
    }
}

/// A service that joins the traces of its calls.
#[derive(Clone, Debug)]
pub struct Joining<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for Joining<S>
where
    S: Service<Request<B>>,
    S::Future: Send + 'static,
    S::Response: 'static,
    S::Error: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(trace) = join(&request) else {
            return Either::Left(self.inner.call(request));
        };
        let method = request.uri().path();
        trace
            .log_span()
            .in_scope(|| tracing::debug!(method, "serving a call of a traced request"));
        Either::Right(Box::pin(trace.scope(self.inner.call(request))))
    }
}

fn join<B>(request: &Request<B>) -> Option<Trace> {
    if !is_on() {
        return None;
    }
    let header = request.headers().get(TRACEPARENT)?.to_str().ok()?;
    let method = request.uri().path().trim_start_matches('/').to_owned();
    Trace::join(header, method)
}
