//! OpenTelemetry: what a collector gets of a request's way, and of the metrics. The collector is one of ours, behind the
//! protocol's own service definitions.

use highwater_e2e::broker::Highwater;
use highwater_e2e::client::wait_until;
use highwater_e2e::cluster::{Cluster, Plan};
use highwater_e2e::raw::{Producer, batch, group_id, text};
use kafka_protocol::messages::{FindCoordinatorRequest, HeartbeatRequest};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::Span;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// What was sent so far.
#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
    metrics: Arc<Mutex<Vec<String>>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let spans = request.into_inner().resource_spans.into_iter();
        let spans = spans
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans);
        self.spans.lock().expect("no panic").extend(spans);
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let resources = request.into_inner().resource_metrics.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_metrics);
        let names = scopes.flat_map(|scope| scope.metrics).map(|metric| metric.name);
        self.metrics.lock().expect("no panic").extend(names);
        Ok(Response::new(Default::default()))
    }
}

impl Collector {
    /// Serves in a runtime of its own, which lives as long as what is returned.
    fn serve(&self) -> (tokio::runtime::Runtime, String) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(self.clone()))
            .add_service(MetricsServiceServer::new(self.clone()));
        runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        (runtime, address)
    }

    /// The first span of that name.
    fn span(&self, name: &str) -> Option<Span> {
        let spans = self.spans.lock().expect("no panic");
        spans.iter().find(|span| span.name == name).cloned()
    }

    /// The names of the spans right below this one.
    fn below(&self, parent: &Span) -> Vec<String> {
        let spans = self.spans.lock().expect("no panic");
        let below = spans
            .iter()
            .filter(|span| span.trace_id == parent.trace_id && span.parent_span_id == parent.span_id);
        below.map(|span| span.name.clone()).collect()
    }
}

#[test]
fn a_collector_gets_the_way_of_a_request_and_the_metrics() {
    let collector = Collector::default();
    let (_runtime, address) = collector.serve();
    let mut highwater = Highwater::new()
        .set("otel.exporter.otlp.endpoint", &address)
        .set("otel.traces.sampler.ratio", "1")
        .set("otel.metric.export.interval.ms", "200");
    highwater.start();
    let mut raw = highwater.raw();
    raw.create("t", 1, &[]).expect("create");
    let (code, _) = raw
        .produce("t", 0, batch(&[(None, "v")], Producer::NONE))
        .expect("an answer");
    assert_eq!(code, 0);
    let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]);
    let beat = HeartbeatRequest::default()
        .with_group_id(group_id("g"))
        .with_member_id(text("nobody"));
    wait_until("a coordinator answers", Duration::from_secs(20), || {
        raw.call(4, &find).expect("an answer");
        raw.call(3, &beat).expect("an answer").error_code == 25
    });

    wait_until("the trace of the produce request", Duration::from_secs(15), || {
        collector.span("Produce").is_some_and(|root| {
            let below = collector.below(&root);
            ["append", "flush", "high watermark", "reply"]
                .iter()
                .all(|name| below.iter().any(|found| found == name))
        })
    });
    let root = collector.span("Produce").expect("it was there");
    assert!(root.parent_span_id.is_empty(), "a client's request begins a trace");
    let within = |name: &str| collector.span(name).expect(name);
    for name in ["append", "flush", "high watermark"] {
        let span = within(name);
        assert!(
            span.start_time_unix_nano >= root.start_time_unix_nano
                && span.end_time_unix_nano <= root.end_time_unix_nano,
            "{name} lies within the request"
        );
    }
    wait_until("the coordinator's part of a heartbeat", Duration::from_secs(15), || {
        let roots = collector.spans.lock().expect("no panic").clone();
        let mut beats = roots.iter().filter(|span| span.name == "Heartbeat");
        beats.any(|beat| collector.below(beat) == ["coordinator"])
    });
    wait_until("the metrics", Duration::from_secs(15), || {
        let names = collector.metrics.lock().expect("no panic");
        [
            "kafka_server_brokertopicmetrics_bytesin",
            "process_resident_memory_bytes",
        ]
        .iter()
        .all(|name| names.iter().any(|found| found.starts_with(name)))
    });
}

#[test]
fn in_a_cluster_the_trace_has_a_span_of_each_follower_and_of_the_coordinator() {
    let collector = Collector::default();
    let (_runtime, address) = collector.serve();
    let plan = Plan::default()
        .set("otel.exporter.otlp.endpoint", &address)
        .set("otel.traces.sampler.ratio", "1");
    let cluster = Cluster::start(plan);
    let mut raw = cluster.raw();
    raw.create("t", 1, &[]).expect("create");
    raw.wait_for_isr("t", 3, Duration::from_secs(30));
    raw.produce_in("t", 0, "v", Duration::from_secs(30));
    wait_until("a span of each follower", Duration::from_secs(15), || {
        collector.span("Produce").is_some_and(|root| {
            let below = collector.below(&root);
            below.iter().filter(|name| *name == "follower").count() == 2
        })
    });
    let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]);
    // Whichever broker is asked: the coordinator is another process.
    wait_until("the coordinator's part of a request", Duration::from_secs(30), || {
        let _ = raw.any(|raw| raw.call(4, &find));
        let _ = raw.committed("g", "t", 1);
        let spans = collector.spans.lock().expect("no panic").clone();
        let mut requests = spans.iter().filter(|span| span.name == "OffsetFetch");
        requests.any(|request| collector.below(request) == ["coordinator"])
    });
}

#[test]
fn without_a_collector_the_broker_serves() {
    // Nobody listens there.
    let mut highwater = Highwater::new()
        .set("otel.exporter.otlp.endpoint", "http://127.0.0.1:9")
        .set("otel.traces.sampler.ratio", "1");
    highwater.start();
    let mut raw = highwater.raw();
    raw.create("t", 1, &[]).expect("create");
    for _ in 0..100 {
        let (code, _) = raw
            .produce("t", 0, batch(&[(None, "v")], Producer::NONE))
            .expect("an answer");
        assert_eq!(code, 0);
    }
    assert!(highwater.terminate().success(), "and stops cleanly");
}
