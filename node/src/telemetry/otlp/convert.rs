//! From the text format of the registry to OTLP's metrics.

use std::collections::BTreeMap;

use highwater_proto::types::TimestampMs;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

type Labels = Vec<(String, String)>;

/// One line of the text.
struct Sample<'a> {
    name: &'a str,
    labels: Labels,
    value: f64,
}

/// Everything that a registry shows, counted since `started`, as it is `now`.
#[must_use]
pub fn metrics_request(
    text: &str,
    service: &str,
    started: TimestampMs,
    now: TimestampMs,
) -> ExportMetricsServiceRequest {
    let times = Times {
        started: nanos(started),
        now: nanos(now),
    };
    let mut metrics = Vec::new();
    let (mut name, mut kind, mut help) = ("", "", "");
    let mut samples: Vec<Sample<'_>> = Vec::new();
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# ") {
            let mut words = described.splitn(3, ' ');
            let (what, of, rest) = (words.next(), words.next().unwrap_or(""), words.next().unwrap_or(""));
            if of != name {
                metrics.extend(family(name, kind, help, &samples, times));
                samples.clear();
                (name, kind, help) = (of, "", "");
            }
            match what {
                Some("TYPE") => kind = rest,
                Some("HELP") => help = rest,
                _ => {}
            }
        } else if let Some(sample) = parse(line) {
            samples.push(sample);
        }
    }
    metrics.extend(family(name, kind, help, &samples, times));
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource {
                attributes: vec![attribute("service.name", service)],
                ..Resource::default()
            }),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(InstrumentationScope {
                    name: "highwater".to_owned(),
                    ..InstrumentationScope::default()
                }),
                metrics,
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    }
}

#[derive(Clone, Copy)]
struct Times {
    started: u64,
    now: u64,
}

fn family(name: &str, kind: &str, help: &str, samples: &[Sample<'_>], times: Times) -> Option<Metric> {
    if samples.is_empty() {
        return None;
    }
    let points = || samples.iter().map(|sample| number(sample, times)).collect();
    let data = match kind {
        "counter" => metric::Data::Sum(Sum {
            data_points: points(),
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic: true,
        }),
        "histogram" => metric::Data::Histogram(Histogram {
            data_points: histograms(name, samples, times),
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
        }),
        _ => metric::Data::Gauge(Gauge { data_points: points() }),
    };
    Some(Metric {
        name: name.to_owned(),
        description: help.to_owned(),
        data: Some(data),
        ..Metric::default()
    })
}

fn number(sample: &Sample<'_>, times: Times) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(&sample.labels),
        start_time_unix_nano: times.started,
        time_unix_nano: times.now,
        value: Some(number_data_point::Value::AsDouble(sample.value)),
        ..NumberDataPoint::default()
    }
}

/// Buckets of the text count everything below their bound, those of OTLP what is between two.
fn histograms(name: &str, samples: &[Sample<'_>], times: Times) -> Vec<HistogramDataPoint> {
    let mut points: BTreeMap<Labels, HistogramDataPoint> = BTreeMap::new();
    for sample in samples {
        let mut labels = sample.labels.clone();
        let bound = labels
            .iter()
            .position(|(key, _)| key == "le")
            .map(|at| labels.remove(at).1);
        let point = points.entry(labels).or_insert_with_key(|labels| HistogramDataPoint {
            attributes: attributes(labels),
            start_time_unix_nano: times.started,
            time_unix_nano: times.now,
            ..HistogramDataPoint::default()
        });
        match (sample.name.strip_prefix(name), bound) {
            (Some("_bucket"), Some(bound)) => {
                let below: u64 = point.bucket_counts.iter().sum();
                point.bucket_counts.push((sample.value as u64).saturating_sub(below));
                if let Ok(bound) = bound.parse::<f64>()
                    && bound.is_finite()
                {
                    point.explicit_bounds.push(bound);
                }
            }
            (Some("_sum"), _) => point.sum = Some(sample.value),
            (Some("_count"), _) => point.count = sample.value as u64,
            _ => {}
        }
    }
    points.into_values().collect()
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    labels.iter().map(|(key, value)| attribute(key, value)).collect()
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

fn nanos(time: TimestampMs) -> u64 {
    u64::try_from(time.get()).unwrap_or(0).saturating_mul(1_000_000)
}

/// `name{key="value",...} number`, as the registry writes it.
fn parse(line: &str) -> Option<Sample<'_>> {
    let (name, rest) = line.split_at(line.find(['{', ' '])?);
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => parse_labels(rest)?,
        None => (Labels::new(), rest),
    };
    let value = value.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name, labels, value })
}

/// The labels up to the closing brace, and what follows it.
fn parse_labels(mut rest: &str) -> Option<(Labels, &str)> {
    let mut labels = Labels::new();
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (key, quoted) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        let end = loop {
            match characters.next()? {
                (at, '"') => break at,
                (_, '\\') => match characters.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.push((key.to_owned(), value));
        rest = &quoted[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP requests Requests answered.
# TYPE requests counter
requests_total{api=\"Produce\",why=\"a \\\"b\\\" \\\\ c,}\"} 3
requests_total{api=\"Fetch\"} 4
# HELP free Free bytes.
# TYPE free gauge
free 1.5
# HELP took How long.
# TYPE took histogram
took_sum{api=\"Produce\"} 2.5
took_count{api=\"Produce\"} 7
took_bucket{le=\"0.1\",api=\"Produce\"} 2
took_bucket{le=\"1.0\",api=\"Produce\"} 6
took_bucket{le=\"+Inf\",api=\"Produce\"} 7
# EOF
";

    fn converted() -> Vec<Metric> {
        let mut request = metrics_request(TEXT, "test", TimestampMs(1), TimestampMs(2));
        request.resource_metrics.remove(0).scope_metrics.remove(0).metrics
    }

    #[test]
    fn counters_are_sums_with_their_labels() {
        let metrics = converted();
        let names: Vec<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
        assert_eq!(names, ["requests", "free", "took"]);
        let Some(metric::Data::Sum(sum)) = &metrics[0].data else {
            panic!("a sum");
        };
        assert!(sum.is_monotonic);
        let point = &sum.data_points[0];
        assert_eq!(point.value, Some(number_data_point::Value::AsDouble(3.0)));
        assert_eq!(
            (point.start_time_unix_nano, point.time_unix_nano),
            (1_000_000, 2_000_000)
        );
        assert_eq!(point.attributes[1], attribute("why", "a \"b\" \\ c,}"));
    }

    #[test]
    fn buckets_count_what_is_between_their_bounds() {
        let Some(metric::Data::Histogram(histogram)) = &converted()[2].data else {
            panic!("a histogram");
        };
        let point = &histogram.data_points[0];
        assert_eq!(point.bucket_counts, [2, 4, 1]);
        assert_eq!(point.explicit_bounds, [0.1, 1.0]);
        assert_eq!((point.count, point.sum), (7, Some(2.5)));
        assert_eq!(point.attributes, [attribute("api", "Produce")]);
    }
}
