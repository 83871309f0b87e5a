//! DescribeCluster (60): the brokers and the cluster's id.

use std::ops::RangeInclusive;

use highwater_proto::kafka::messages::describe_cluster::response::DescribeClusterBroker;
use highwater_proto::kafka::messages::describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
use highwater_proto::kafka::{ByteStr, ErrorCode};
use highwater_proto::metadata::{Endpoint, MetadataImage, Node};
use highwater_proto::types::NodeId;

use super::cluster_view::{CLUSTER_OPERATIONS, ClusterView};
use super::{Api, RequestContext};

/// Handler of DescribeCluster.
pub(super) struct DescribeCluster;

/// The endpoint types that a request may ask for (KIP-919).
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

impl Api for DescribeCluster {
    type Request = DescribeClusterRequest;
    const VERSIONS: RangeInclusive<i16> = 0..=2;

    async fn handle(
        context: &RequestContext,
        version: i16,
        request: DescribeClusterRequest,
    ) -> DescribeClusterResponse {
        let broker = &context.broker;
        describe(
            &broker.image(),
            &context.client.listener,
            broker.node_id(),
            version,
            &request,
        )
    }
}

fn describe(
    image: &MetadataImage,
    listener: &str,
    asked: NodeId,
    version: i16,
    request: &DescribeClusterRequest,
) -> DescribeClusterResponse {
    if let Some(refusal) = refuse_endpoint_type(version, request.endpoint_type) {
        return refusal;
    }
    let view = ClusterView::new(image, listener);
    let row = |(node, endpoint): (&Node, &Endpoint)| DescribeClusterBroker {
        broker_id: node.id.get(),
        host: ByteStr::from(endpoint.host.as_str()),
        port: i32::from(endpoint.port),
        rack: node.registration.rack.as_deref().map(ByteStr::from),
        is_fenced: !node.is_live(),
        ..Default::default()
    };
    let mut response = DescribeClusterResponse {
        cluster_id: ByteStr::from(image.cluster.cluster_id.as_str()),
        controller_id: view.controller_id(asked),
        brokers: if request.include_fenced_brokers {
            view.brokers().map(row).collect()
        } else {
            view.live_brokers().map(row).collect()
        },
        ..Default::default()
    };
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    response
}

/// Clients of a broker can only ask for brokers.
fn refuse_endpoint_type(version: i16, asked: i8) -> Option<DescribeClusterResponse> {
    let (code, message) = match asked {
        BROKERS => return None,
        CONTROLLERS if version == 0 => (ErrorCode::InvalidRequest, "This is a broker, not a controller."),
        CONTROLLERS => (ErrorCode::MismatchedEndpointType, "This is a broker, not a controller."),
        _ => (ErrorCode::UnsupportedEndpointType, "This endpoint type does not exist."),
    };
    Some(DescribeClusterResponse {
        error_code: code.code(),
        error_message: Some(ByteStr::from(message)),
        endpoint_type: BROKERS,
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use highwater_proto::metadata::NodeState;

    use super::super::test_image::{LISTENER, TestImage};
    use super::*;

    fn ask(version: i16, asked: i32, endpoint_type: i8, fenced: bool) -> DescribeClusterResponse {
        let image = TestImage::new()
            .broker(1, NodeState::Fenced, &[LISTENER])
            .broker(2, NodeState::Active, &[LISTENER])
            .broker(3, NodeState::Draining, &[LISTENER])
            .broker(4, NodeState::Active, &["OTHER"])
            .build();
        let request = DescribeClusterRequest {
            endpoint_type,
            include_fenced_brokers: fenced,
            ..Default::default()
        };
        describe(&image, LISTENER, NodeId(asked), version, &request)
    }

    #[test]
    fn live_brokers_with_the_addresses_of_the_listener() {
        let answer = ask(2, 3, BROKERS, false);
        let rows: Vec<_> = answer
            .brokers
            .iter()
            .map(|b| (b.broker_id, &*b.host, b.port, b.is_fenced))
            .collect();
        assert_eq!(rows, [(2, "b2", 9092, false), (3, "b3", 9092, false)]);
        assert_eq!(
            (answer.controller_id, &*answer.cluster_id, answer.error_code),
            (3, "cluster", 0)
        );
        assert_eq!(answer.cluster_authorized_operations, i32::MIN, "not asked for");
        assert_eq!(
            ask(2, 1, BROKERS, false).controller_id,
            2,
            "a broker that clients cannot reach is no controller"
        );
    }

    #[test]
    fn fenced_brokers_only_when_asked_for() {
        let rows: Vec<_> = ask(2, 2, BROKERS, true)
            .brokers
            .iter()
            .map(|b| (b.broker_id, b.is_fenced))
            .collect();
        assert_eq!(rows, [(1, true), (2, false), (3, false)]);
    }

    #[test]
    fn rule_108_brokers_do_not_answer_for_controllers() {
        let code = |version, endpoint_type| ask(version, 2, endpoint_type, false).error_code;
        assert_eq!([code(0, 1), code(0, 2), code(1, 2), code(1, 3)], [0, 42, 114, 115]);
    }
}
