//! ApiVersions (18): what this broker serves, and which features the cluster has.

use std::ops::RangeInclusive;

use highwater_proto::kafka::messages::api_versions::response::ApiVersion;
use highwater_proto::kafka::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use highwater_proto::kafka::{ApiKey, ErrorCode};
use highwater_proto::metadata::MetadataImage;

use super::{Api, RequestContext, SERVED, ServedApi};

/// Handler of ApiVersions.
pub(super) struct ApiVersions;

/// librdkafka silently stops compressing when a broker does not advertise old versions of Produce (KAFKA-18659).
/// Requests of these versions close the connection, as in Kafka.
const PRODUCE_ADVERTISED_FROM: i16 = 0;
/// The longest software name or version that is looked at; Kafka has no bound here but the frame.
const MAX_SOFTWARE_NAME_BYTES: usize = 1_000;

impl Api for ApiVersions {
    type Request = ApiVersionsRequest;
    const VERSIONS: RangeInclusive<i16> = 0..=4;

    async fn handle(context: &RequestContext, version: i16, request: ApiVersionsRequest) -> ApiVersionsResponse {
        if !Self::VERSIONS.contains(&version) {
            return unsupported_version();
        }
        if version >= 3
            && !(is_software_name(&request.client_software_name) && is_software_name(&request.client_software_version))
        {
            return ApiVersionsResponse {
                error_code: ErrorCode::InvalidRequest.code(),
                ..Default::default()
            };
        }
        let image = context.broker.image();
        ApiVersionsResponse {
            api_keys: SERVED.iter().filter_map(|served| advertise(served, &image)).collect(),
            // Clients keep the list with the highest epoch seen from any broker, so it is the cluster's one clock.
            // No feature is finalized until transactions exist: clients then use none.
            finalized_features_epoch: image.revision.get(),
            ..Default::default()
        }
    }
}

/// The answer to a version that is not known: that of version 0, with the versions to use instead (KIP-511).
fn unsupported_version() -> ApiVersionsResponse {
    let versions = ApiVersion {
        api_key: ApiKey::ApiVersions.code(),
        min_version: *ApiVersions::VERSIONS.start(),
        max_version: *ApiVersions::VERSIONS.end(),
        ..Default::default()
    };
    ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        api_keys: vec![versions],
        ..Default::default()
    }
}

/// What clients are told of an API; nothing while a forwarded one has no version that all coordinators serve.
fn advertise(served: &ServedApi, image: &MetadataImage) -> Option<ApiVersion> {
    let (mut min, mut max) = (served.min_version, served.max_version);
    if served.key == ApiKey::Produce {
        min = PRODUCE_ADVERTISED_FROM;
    }
    if served.forwarded {
        for coordinator in image.live_coordinators() {
            let ranges = &coordinator.registration.api_ranges;
            let (_, low, high) = ranges.iter().find(|(key, _, _)| *key == served.key.code())?;
            min = min.max(*low);
            max = max.min(*high);
        }
    }
    (min <= max).then(|| ApiVersion {
        api_key: served.key.code(),
        min_version: min,
        max_version: max,
        ..Default::default()
    })
}

/// Letters and digits, with dots and dashes between them (rule 109).
fn is_software_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes.len() <= MAX_SOFTWARE_NAME_BYTES
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_are_what_kafka_accepts() {
        for good in ["a", "apache-kafka-java", "3.9.2", "librdkafka", "a.-b"] {
            assert!(is_software_name(good), "{good}");
        }
        for bad in ["", "-a", "a.", "a b", "a_b", "ä"] {
            assert!(!is_software_name(bad), "{bad}");
        }
    }
}
