//! Traces of requests through the cluster, sent by OTLP. Off unless `otel.exporter.otlp.endpoint` is set; then
//! [`Trace::root`] is one look at a pointer that is not there, and [`Trace::current`] one at the task.
//!
//! A trace begins where a client's request arrives, or where a process begins something by itself. Spans of other
//! processes join it by W3C's `traceparent`: gRPC calls that are made within [`Trace::scope`] carry it by themselves.

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{SpanKind, TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, SpanExporter as Export};
use tracing::Instrument as _;

use crate::config::OtelConfig;
use crate::telemetry::logging::TRACE_TARGET;

/// The name of W3C's header, in gRPC metadata and in our messages.
pub const TRACEPARENT: &str = "traceparent";

static TRACING: OnceLock<Tracing> = OnceLock::new();

tokio::task_local! {
    /// The span within which the task works.
    static CURRENT: Trace;
}

struct Tracing {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
    sample_ratio: f64,
}

/// Sends traces to the collector of the configuration from now on, if there is one. Needs the runtime of the process.
///
/// # Errors
/// When the endpoint is not one.
pub fn start_tracing(config: &OtelConfig, service: &str) -> Result<(), ExporterBuildError> {
    let Some(endpoint) = &config.endpoint else {
        return Ok(());
    };
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint.clone())
        .build()?;
    start_with(exporter, config.sample_ratio, service);
    tracing::info!(endpoint, sample_ratio = config.sample_ratio, "traces are sent");
    Ok(())
}

/// Gives traces to an exporter of one's own; the first call in a process counts.
pub fn start_with(exporter: impl Export + 'static, sample_ratio: f64, service: &str) {
    let resource = Resource::builder()
        .with_service_name(service.to_owned())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let provider = SdkTracerProvider::builder()
        // Whether a trace is taken is decided before it costs anything.
        .with_sampler(Sampler::AlwaysOn)
        .with_resource(resource)
        .with_batch_exporter(exporter)
        .build();
    let _ = TRACING.set(Tracing {
        tracer: provider.tracer("highwater"),
        provider,
        sample_ratio,
    });
}

/// True if traces are taken in this process.
#[must_use]
pub fn is_on() -> bool {
    TRACING.get().is_some()
}

/// Sends what was not sent yet. For the end of a process; blocks for at most a few seconds.
pub fn finish_tracing() {
    if let Some(tracing) = TRACING.get()
        && let Err(error) = tracing.provider.shutdown()
    {
        tracing::warn!(%error, "the last traces could not be sent");
    }
}

/// An open span. It ends when the last clone is dropped.
#[derive(Clone)]
pub struct Trace(Arc<Open>);

struct Open {
    context: Context,
    log: tracing::Span,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.context.span().end();
    }
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.traceparent())
    }
}

impl Trace {
    /// Begins a trace of a client's request, if traces are taken and this one is chosen.
    #[must_use]
    pub fn root(name: &'static str) -> Option<Self> {
        Self::begin(name, SpanKind::Server)
    }

    /// Begins a trace of something that the process does by itself, if traces are taken and this one is chosen.
    #[must_use]
    pub fn background(name: &'static str) -> Option<Self> {
        Self::begin(name, SpanKind::Internal)
    }

    // Names are never made for the purpose: it would cost something for each request that is not followed.
    fn begin(name: &'static str, kind: SpanKind) -> Option<Self> {
        let tracing = TRACING.get()?;
        (rand::random::<f64>() < tracing.sample_ratio)
            .then(|| Self::open(tracing, name.into(), kind, &Context::new(), None))
    }

    /// The span that the task works within, if it is followed: see [`Self::scope`].
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// Runs a future within the span: its log lines carry the trace's id, and so do the gRPC calls that it makes. What
    /// it spawns does not.
    pub fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> + use<F> {
        let log = self.log_span();
        CURRENT.scope(self, future).instrument(log)
    }

    /// As [`Self::scope`], where there may be no span.
    pub async fn scope_of<F: Future>(trace: Option<Self>, future: F) -> F::Output {
        match trace {
            Some(trace) => trace.scope(future).await,
            None => future.await,
        }
    }

    /// Goes on with the trace that another process began; `None` if traces are not taken here, or the header is none.
    #[must_use]
    pub fn join(traceparent: &str, name: impl Into<Cow<'static, str>>) -> Option<Self> {
        let tracing = TRACING.get()?;
        let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
        let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
        let sampled = parent.span().span_context().is_valid() && parent.span().span_context().is_sampled();
        sampled.then(|| Self::open(tracing, name.into(), SpanKind::Server, &parent, None))
    }

    fn open(
        tracing: &Tracing,
        name: Cow<'static, str>,
        kind: SpanKind,
        parent: &Context,
        start: Option<SystemTime>,
    ) -> Self {
        let mut builder = tracing.tracer.span_builder(name).with_kind(kind);
        builder.start_time = start;
        let span = builder.start_with_context(&tracing.tracer, parent);
        let context = parent.with_span(span);
        let trace_id = context.span().span_context().trace_id();
        Self(Arc::new(Open {
            log: tracing::error_span!(target: TRACE_TARGET, "trace", %trace_id),
            context,
        }))
    }

    /// A span within this one, open until it is dropped.
    #[must_use]
    pub fn child(&self, name: &'static str) -> Self {
        match TRACING.get() {
            Some(tracing) => Self::open(tracing, name.into(), SpanKind::Internal, &self.0.context, None),
            None => self.clone(),
        }
    }

    /// A span within this one, from `start` until now.
    pub fn was(
        &self,
        name: &'static str,
        start: SystemTime,
        attributes: impl IntoIterator<Item = (&'static str, Value)>,
    ) {
        if let Some(tracing) = TRACING.get() {
            let span = Self::open(tracing, name.into(), SpanKind::Internal, &self.0.context, Some(start));
            for (key, value) in attributes {
                span.set(key, value);
            }
        }
    }

    /// Says something about the span.
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        self.0.context.span().set_attribute(KeyValue::new(key, value));
    }

    /// W3C's header, for another process.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let mut carrier = HashMap::new();
        TraceContextPropagator::new().inject_context(&self.0.context, &mut carrier);
        carrier.remove(TRACEPARENT).unwrap_or_default()
    }

    /// Log lines within it carry the trace's id, at every level that is logged.
    #[must_use]
    pub fn log_span(&self) -> tracing::Span {
        self.0.log.clone()
    }
}
