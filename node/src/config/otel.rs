//! Where traces and metrics are sent.

use std::time::Duration;

use highwater_proto::config::{ConfigError, ConfigReader};

/// The `otel.*` keys.
#[derive(Clone, Debug, PartialEq)]
pub struct OtelConfig {
    /// `otel.exporter.otlp.endpoint`; `None` = nothing is sent.
    pub endpoint: Option<String>,
    /// `otel.traces.sampler.ratio`, 0 to 1.
    pub sample_ratio: f64,
    /// `otel.metric.export.interval.ms`
    pub metrics_interval: Duration,
}

impl OtelConfig {
    pub(super) fn read(read: &ConfigReader<'_>) -> Result<Self, ConfigError> {
        let key = "otel.exporter.otlp.endpoint";
        let endpoint = read.text(key)?.filter(|endpoint| !endpoint.is_empty());
        if let Some(endpoint) = &endpoint
            && !["http://", "https://"]
                .iter()
                .any(|scheme| endpoint.starts_with(scheme))
        {
            let allowed = "allowed is an address that begins with http:// or https://";
            return Err(ConfigError::refused(key, endpoint, allowed));
        }
        Ok(Self {
            endpoint,
            sample_ratio: read.fraction("otel.traces.sampler.ratio")?,
            metrics_interval: read.millis("otel.metric.export.interval.ms")?,
        })
    }
}
