//! Group and transaction requests on their way to the coordinator that owns the shard (design section 5).
//!
//! A request is handed over once: when a byte of it may have left, it is never sent again. What is in flight to an owner
//! that a newer image replaces is answered `NOT_COORDINATOR`, and the late reply is dropped.

mod link;
mod shard_of;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use highwater_node::transport::Dialer;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{MetadataImage, Node};
use highwater_proto::types::{BrokerEpoch, NodeId, ShardId};
use parking_lot::Mutex;

use self::link::Link;

pub use self::shard_of::shard_of;

/// Listener name under which our processes speak gRPC to each other.
const GRPC_LISTENER: &str = "GRPC";

/// A request as it travels: raw but for what names its shard.
#[derive(Clone, Debug)]
pub struct ForwardedRequest {
    /// The shard that the group or transactional id belongs to.
    pub shard: ShardId,
    /// Kafka API key.
    pub api_key: i16,
    /// Version of the request, also of the reply.
    pub api_version: i16,
    /// Client id of the request header; empty for null.
    pub client_id: String,
    /// The client's address as Kafka writes it: `/127.0.0.1`.
    pub client_host: String,
    /// The request body without its header.
    pub body: Bytes,
}

/// Keeps one stream per coordinator and finds the right one for a shard.
pub struct Forwarder {
    dialer: Dialer,
    links: Mutex<HashMap<NodeId, (BrokerEpoch, Arc<Link>)>>,
}

impl Forwarder {
    /// A forwarder that reaches coordinators through `dialer`.
    #[must_use]
    pub fn new(dialer: Dialer) -> Self {
        Self { dialer, links: Mutex::new(HashMap::new()) }
    }

    /// Hands the request to the shard's owner in `image` and answers with the reply body, or with the error that the API's own
    /// reply carries. The hand-over happens before the first await, so that requests of one connection keep their order.
    pub fn forward(
        &self,
        image: &MetadataImage,
        request: ForwardedRequest,
    ) -> impl Future<Output = Result<Bytes, ErrorCode>> + Send + use<> {
        let sent = self.send(image, request);
        async move {
            let reply = sent?;
            // The sender is dropped when the link breaks or the shard moves: nobody knows whether it was handled.
            reply.await.unwrap_or(Err(ErrorCode::NotCoordinator))
        }
    }

    /// Fails what is in flight for shards that `image` gives to another owner, and drops links of nodes that are gone.
    pub fn image_changed(&self, image: &MetadataImage) {
        self.links.lock().retain(|id, (epoch, link)| {
            let stays = image.nodes.get(id).is_some_and(|node| node.epoch == *epoch);
            if stays {
                link.fail_moved(|shard| image.shards.get(&shard).and_then(|it| it.owner) == Some(*id));
            } else {
                link.close();
            }
            stays
        });
    }

    fn send(&self, image: &MetadataImage, request: ForwardedRequest) -> Result<link::Reply, ErrorCode> {
        let assignment = image.shards.get(&request.shard).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        let owner = assignment.owner.ok_or(ErrorCode::CoordinatorNotAvailable)?;
        let node = image.nodes.get(&owner).filter(|node| node.is_live()).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        self.link_to(node)?.send(request, image.revision)
    }

    fn link_to(&self, node: &Node) -> Result<Arc<Link>, ErrorCode> {
        let mut links = self.links.lock();
        if let Some((epoch, link)) = links.get(&node.id)
            && *epoch == node.epoch
            && !link.is_closed()
        {
            return Ok(Arc::clone(link));
        }
        let endpoint = node.endpoint(GRPC_LISTENER).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        let link = Link::open(node.id, self.dialer.channel(&endpoint.host, endpoint.port));
        if let Some((_, old)) = links.insert(node.id, (node.epoch, Arc::clone(&link))) {
            old.close();
        }
        Ok(link)
    }
}
