//! ListConfigResources (74): what configs can be described of.

use std::ops::RangeInclusive;

use highwater_proto::kafka::messages::list_config_resources::response::ConfigResource as Row;
use highwater_proto::kafka::messages::list_config_resources::{
    ListConfigResourcesRequest, ListConfigResourcesResponse,
};
use highwater_proto::kafka::{ByteStr, ErrorCode};
use highwater_proto::metadata::{ConfigResource, MetadataImage};

use super::resource_type::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC};
use super::{Api, RequestContext};

/// Handler of ListConfigResources.
pub(super) struct ListConfigResources;

impl Api for ListConfigResources {
    type Request = ListConfigResourcesRequest;
    const VERSIONS: RangeInclusive<i16> = 0..=1;

    async fn handle(
        context: &RequestContext,
        version: i16,
        request: ListConfigResourcesRequest,
    ) -> ListConfigResourcesResponse {
        list(&context.broker.image(), version, &request.resource_types)
    }
}

/// Version 0 lists the subscriptions to client metrics only, of which there are none. No type at all means all types.
fn list(image: &MetadataImage, version: i16, types: &[i8]) -> ListConfigResourcesResponse {
    let known: &[i8] = if version == 0 {
        &[CLIENT_METRICS]
    } else {
        &[TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP]
    };
    if types.iter().any(|kind| !known.contains(kind)) {
        return ListConfigResourcesResponse {
            error_code: ErrorCode::UnsupportedVersion.code(),
            ..Default::default()
        };
    }
    let asked = |kind: i8| known.contains(&kind) && (types.is_empty() || types.contains(&kind));
    let row = |kind: i8, name: ByteStr| Row {
        resource_name: name,
        resource_type: kind,
        ..Default::default()
    };
    let mut rows = Vec::new();
    if asked(GROUP) {
        rows.extend(image.configs.keys().filter_map(|resource| match resource {
            ConfigResource::Group(name) => Some(row(GROUP, ByteStr::from(name.as_str()))),
            ConfigResource::ClusterDefault | ConfigResource::Broker(_) => None,
        }));
    }
    if asked(BROKER) {
        let names = image.live_brokers().map(|node| ByteStr::from(node.id.to_string()));
        rows.extend(names.map(|name| row(BROKER, name)));
    }
    if asked(TOPIC) {
        rows.extend(image.topics().map(|topic| row(TOPIC, ByteStr::from(&*topic.name))));
    }
    ListConfigResourcesResponse {
        config_resources: rows,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use highwater_proto::metadata::NodeState;

    use super::super::test_image::{LISTENER, TestImage};
    use super::*;

    #[test]
    fn everything_that_has_configs_by_type() {
        let image = TestImage::new()
            .broker(1, NodeState::Active, &[LISTENER])
            .topic("t", 1, &[(Some(1), &[1])])
            .config(
                ConfigResource::Group("g".to_owned()),
                "consumer.session.timeout.ms",
                "45000",
            )
            .build();
        let rows = |version, types: &[i8]| {
            let answer = list(&image, version, types);
            let rows = answer
                .config_resources
                .iter()
                .map(|r| (r.resource_type, r.resource_name.to_string()));
            (answer.error_code, rows.collect::<Vec<_>>())
        };
        let row = |kind, name: &str| (kind, name.to_owned());
        assert_eq!(
            rows(1, &[]),
            (0, vec![row(GROUP, "g"), row(BROKER, "1"), row(TOPIC, "t")])
        );
        assert_eq!(rows(1, &[TOPIC]), (0, vec![row(TOPIC, "t")]));
        assert_eq!(rows(1, &[CLIENT_METRICS, BROKER_LOGGER]), (0, vec![]));
        assert_eq!(rows(1, &[TOPIC, 3]).0, 35, "no such type");
        assert_eq!(rows(0, &[]), (0, vec![]), "version 0 is about client metrics only");
    }
}
