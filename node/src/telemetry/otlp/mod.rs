//! Metrics by OTLP: what `/metrics` shows, pushed to a collector.

mod convert;

use std::time::Duration;

use highwater_proto::types::TimestampMs;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use crate::clock::Clock;
use crate::config::OtelConfig;
use crate::shutdown::Shutdown;
use crate::telemetry::Metrics;

pub use convert::metrics_request;

/// Longest wait for the collector.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// Pushes the metrics again and again until the process stops, if there is a collector.
///
/// # Errors
/// When the endpoint is not one.
pub fn push_metrics(
    config: &OtelConfig,
    service: &str,
    metrics: &Metrics,
    clock: &Clock,
    shutdown: &Shutdown,
) -> Result<(), tonic::transport::Error> {
    let Some(endpoint) = &config.endpoint else {
        return Ok(());
    };
    let mut channel = Endpoint::from_shared(endpoint.clone())?.timeout(EXPORT_TIMEOUT);
    if endpoint.starts_with("https://") {
        channel = channel.tls_config(ClientTlsConfig::new().with_enabled_roots())?;
    }
    let push = Push {
        client: MetricsServiceClient::new(channel.connect_lazy()),
        service: service.to_owned(),
        metrics: metrics.clone(),
        clock: clock.clone(),
        started: clock.now_ms(),
    };
    let (interval, stop) = (config.metrics_interval, shutdown.token());
    tokio::spawn(push.run(interval, stop));
    Ok(())
}

struct Push {
    client: MetricsServiceClient<Channel>,
    service: String,
    metrics: Metrics,
    clock: Clock,
    started: TimestampMs,
}

impl Push {
    async fn run(mut self, interval: Duration, stop: tokio_util::sync::CancellationToken) {
        let mut failing = false;
        loop {
            let stopping = tokio::select! {
                () = tokio::time::sleep(interval) => false,
                () = stop.cancelled() => true,
            };
            let failed = self.push().await.err();
            // Said once, not at each interval.
            match (&failed, failing) {
                (Some(error), false) => tracing::warn!(error, "metrics cannot be pushed; trying again"),
                (None, true) => tracing::info!("metrics are pushed again"),
                _ => {}
            }
            failing = failed.is_some();
            if stopping {
                return;
            }
        }
    }

    async fn push(&mut self) -> Result<(), String> {
        let metrics = self.metrics.clone();
        // Collectors look at every partition: not on a worker.
        let text = tokio::task::spawn_blocking(move || metrics.encode())
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        let request: ExportMetricsServiceRequest =
            metrics_request(&text, &self.service, self.started, self.clock.now_ms());
        let exported = tokio::time::timeout(EXPORT_TIMEOUT, self.client.export(request)).await;
        match exported {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(status.to_string()),
            Err(_) => Err("no answer from the collector".to_owned()),
        }
    }
}
