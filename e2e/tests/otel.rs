//! OpenTelemetry: what a collector gets of a request's way, and of the metrics. The collector is one of ours, behind the
//! protocol's own service definitions.

use highwater_e2e::broker::Highwater;
use highwater_e2e::client::wait_until;
use highwater_e2e::cluster::{Cluster, Kind, Plan};
use highwater_e2e::raw::{Producer, batch, group_id, text, topic_name};
use highwater_e2e::routed::Routed;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::{FindCoordinatorRequest, HeartbeatRequest, OffsetCommitRequest};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// What was sent so far.
#[derive(Clone, Default)]
struct Collector {
    /// Each with the `service.name` of the process that sent it.
    spans: Arc<Mutex<Vec<(String, Span)>>>,
    metrics: Arc<Mutex<Vec<String>>>,
}

fn service_name(spans: &ResourceSpans) -> String {
    let attributes = spans.resource.iter().flat_map(|resource| &resource.attributes);
    let mut named = attributes.filter(|attribute| attribute.key == "service.name");
    let value = named
        .next()
        .and_then(|attribute| attribute.value.as_ref()?.value.clone());
    match value {
        Some(Value::StringValue(name)) => name,
        other => panic!("not a name: {other:?}"),
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let service = service_name(&resource);
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let spans = spans.map(|span| (service.clone(), span));
            self.spans.lock().expect("no panic").extend(spans);
        }
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
        self.spans(name).into_iter().next()
    }

    /// The names of the spans right below this one.
    fn below(&self, parent: &Span) -> Vec<String> {
        let below = self.children(parent).into_iter();
        below.map(|(_, span)| span.name).collect()
    }

    /// The spans right below this one, each with the process that it is of.
    fn children(&self, parent: &Span) -> Vec<(String, Span)> {
        let spans = self.spans.lock().expect("no panic");
        let below = spans
            .iter()
            .filter(|(_, span)| span.trace_id == parent.trace_id && span.parent_span_id == parent.span_id);
        below.cloned().collect()
    }

    /// All spans of that name.
    fn spans(&self, name: &str) -> Vec<Span> {
        let spans = self.spans.lock().expect("no panic");
        let named = spans.iter().filter(|(_, span)| span.name == name);
        named.map(|(_, span)| span.clone()).collect()
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
        let beats = collector.spans("Heartbeat");
        beats.iter().any(|beat| collector.below(beat) == ["coordinator"])
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
        let requests = collector.spans("OffsetFetch");
        requests
            .iter()
            .any(|request| collector.below(request) == ["coordinator"])
    });
}

/// True if the offset of a group without members was committed.
fn commit(raw: &mut Routed) -> bool {
    let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]);
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(1);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name("t"))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group_id("g"))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let answer = raw.any(|raw| {
        raw.call(4, &find)?;
        raw.call(2, &request)
    });
    answer.is_ok_and(|answer| answer.topics[0].partitions[0].error_code == 0)
}

/// The lines of that trace in a log.
fn lines_of(log: &str, trace: &Span) -> Vec<String> {
    let id = trace.trace_id.iter().map(|byte| format!("{byte:02x}"));
    let id = format!("trace_id={}", id.collect::<String>());
    let lines = log.lines().filter(|line| line.contains(&id));
    lines.map(str::to_owned).collect()
}

#[test]
fn calls_between_processes_are_part_of_the_trace_and_so_are_the_log_lines_of_each() {
    let collector = Collector::default();
    let (_runtime, address) = collector.serve();
    let plan = Plan::default()
        .set("otel.exporter.otlp.endpoint", &address)
        .set("otel.traces.sampler.ratio", "1")
        .set(
            "logging.filter",
            "info,highwater_node::transport=debug,highwater_broker::api=debug,highwater_coordinator=debug",
        );
    let mut cluster = Cluster::start(plan);
    let mut raw = cluster.raw();
    raw.create("t", 1, &[]).expect("create");
    // One that is repeated, as a controller was only just elected, has a call that commits nothing.
    let created = |collector: &Collector| {
        let mut roots = collector.spans("CreateTopics").into_iter();
        roots.find(|root| {
            let mut calls = collector.children(root).into_iter();
            calls.any(|(service, call)| {
                service == "highwater-controller"
                    && call.name == "highwater.v1.Controller/CreateTopics"
                    && collector.below(&call).iter().any(|name| name == "commit")
            })
        })
    };
    wait_until("the controller's part of CreateTopics", Duration::from_secs(15), || {
        created(&collector).is_some()
    });
    let root = created(&collector).expect("it was there");
    assert!(root.parent_span_id.is_empty(), "a client's request begins a trace");

    // A commit goes from a broker to the coordinator and from there to the broker that leads the shard.
    wait_until("a commit is taken", Duration::from_secs(30), || commit(&mut raw));
    let appended = |collector: &Collector| {
        let mut commits = collector.spans("OffsetCommit").into_iter();
        commits.find(|commit| {
            let parts = collector.children(commit);
            let coordinators = parts.iter().filter(|(service, _)| service == "highwater-coordinator");
            let calls = coordinators.flat_map(|(_, part)| collector.children(part));
            let mut appends = calls.filter(|(service, call)| {
                service == "highwater-broker" && call.name == "highwater.v1.Broker/AppendShard"
            });
            appends.any(|(_, append)| {
                let below = collector.below(&append);
                ["flush", "high watermark"]
                    .iter()
                    .all(|name| below.iter().any(|found| found == name))
            })
        })
    };
    wait_until("the append of a commit", Duration::from_secs(15), || {
        appended(&collector).is_some()
    });
    let commit = appended(&collector).expect("it was there");

    for (kind, count, trace) in [
        (Kind::Broker, 3, &root),
        (Kind::Controller, 3, &root),
        (Kind::Broker, 3, &commit),
        (Kind::Coordinator, 2, &commit),
    ] {
        let lines = (0..count).flat_map(|number| lines_of(&cluster.process((kind, number)).log(), trace));
        assert!(lines.count() > 0, "no log line of the trace in any {kind:?}");
    }
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
