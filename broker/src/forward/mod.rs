//! Group and transaction requests on their way to the coordinator that owns the shard (design section 5).
//!
//! A request is handed over once: when a byte of it may have left, it is never sent again. What is in flight to an owner
//! that a newer image replaces is answered `NOT_COORDINATOR`, and the late reply is dropped.

mod link;
mod shard_of;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use highwater_node::transport::Dialer;
use highwater_proto::grpc::ForwardResponse;
use highwater_proto::kafka::{ApiKey, ErrorCode};
use highwater_proto::metadata::{MetadataImage, Node};
use highwater_proto::types::{BrokerEpoch, CoordinatorEpoch, NodeId, ShardId};
use parking_lot::RwLock;

use self::link::{Link, Reply};

pub use self::shard_of::shard_of;

/// Listener name under which our processes speak gRPC to each other.
pub(crate) const GRPC_LISTENER: &str = "GRPC";
/// Longer than any wait of a coordinator but for parked members: what takes longer has been lost.
const REPLY_LIMIT: Duration = Duration::from_secs(120);

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
    /// W3C's header of the request's trace; empty if it is not followed.
    pub traceparent: String,
}

/// What a coordinator answered: a body that goes out as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// The response body without its header.
    pub body: Bytes,
    /// The error codes in it, each with how often it is there.
    pub errors: Vec<(ErrorCode, u64)>,
}

impl From<ForwardResponse> for Forwarded {
    fn from(response: ForwardResponse) -> Self {
        let errors = response.errors.iter().filter_map(|error| {
            let code = i16::try_from(error.code).ok()?;
            Some((ErrorCode::from_code(code), u64::try_from(error.count).ok()?))
        });
        Self {
            errors: errors.collect(),
            body: response.body,
        }
    }
}

/// Keeps one stream per coordinator and finds the right one for a shard.
pub struct Forwarder {
    dialer: Dialer,
    /// Read while a request is handed over, written when the image changes: a request either sees the newer image or is
    /// in flight when that fails what moved.
    links: RwLock<Links>,
}

#[derive(Default)]
struct Links {
    /// The newest image that was announced.
    image: Arc<MetadataImage>,
    by_coordinator: HashMap<NodeId, (BrokerEpoch, Arc<Link>)>,
}

/// Whose a shard is.
struct Owner<'a> {
    node: &'a Node,
    epoch: CoordinatorEpoch,
}

impl Forwarder {
    /// A forwarder that reaches coordinators through `dialer`.
    #[must_use]
    pub fn new(dialer: Dialer) -> Self {
        Self {
            dialer,
            links: RwLock::default(),
        }
    }

    /// Reaches our other processes.
    #[must_use]
    pub fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// Hands the request to the shard's owner in `image` and answers with the reply, or with the error that the API's own
    /// reply carries. The hand-over happens before the first await, so that requests of one connection keep their order.
    pub fn forward(
        &self,
        image: &MetadataImage,
        request: ForwardedRequest,
    ) -> impl Future<Output = Result<Forwarded, ErrorCode>> + Send + use<> {
        let limit = reply_limit(request.api_key);
        let sent = self.send(image, request);
        async move {
            let outcome = sent?.outcome();
            match limit {
                Some(limit) => tokio::time::timeout(limit, outcome)
                    .await
                    .unwrap_or(Err(ErrorCode::NotCoordinator)),
                None => outcome.await,
            }
        }
    }

    /// Fails what is in flight for shards that `image` gives to another owner, and drops links of nodes that are gone.
    pub fn image_changed(&self, image: &Arc<MetadataImage>) {
        let mut links = self.links.write();
        if image.position() < links.image.position() {
            return;
        }
        links.image = Arc::clone(image);
        links.by_coordinator.retain(|id, (epoch, link)| {
            let stays = image.nodes.get(id).is_some_and(|node| node.epoch == *epoch);
            if stays {
                link.fail_moved(image);
            } else {
                link.close();
            }
            stays
        });
    }

    fn send(&self, image: &MetadataImage, request: ForwardedRequest) -> Result<Reply, ErrorCode> {
        {
            let links = self.links.read();
            let image = links.newer(image);
            let owner = owner_of(image, request.shard)?;
            if let Some(link) = links.open_link(owner.node) {
                return link.send(request, owner.epoch, image.revision);
            }
        }
        let mut links = self.links.write();
        let announced = Arc::clone(&links.image);
        let image = if announced.position() > image.position() {
            &announced
        } else {
            image
        };
        let owner = owner_of(image, request.shard)?;
        let link = match links.open_link(owner.node) {
            Some(link) => Arc::clone(link),
            None => self.open(&mut links, owner.node)?,
        };
        link.send(request, owner.epoch, image.revision)
    }

    fn open(&self, links: &mut Links, node: &Node) -> Result<Arc<Link>, ErrorCode> {
        let endpoint = node.endpoint(GRPC_LISTENER).ok_or(ErrorCode::NotCoordinator)?;
        let link = Link::open(node.id, self.dialer.channel(&endpoint.host, endpoint.port));
        if let Some((_, old)) = links.by_coordinator.insert(node.id, (node.epoch, Arc::clone(&link))) {
            old.close();
        }
        Ok(link)
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.links
            .get_mut()
            .by_coordinator
            .values()
            .for_each(|(_, link)| link.close());
    }
}

impl Links {
    fn newer<'a>(&'a self, image: &'a MetadataImage) -> &'a MetadataImage {
        if self.image.position() > image.position() {
            &self.image
        } else {
            image
        }
    }

    fn open_link(&self, node: &Node) -> Option<&Arc<Link>> {
        let (epoch, link) = self.by_coordinator.get(&node.id)?;
        (*epoch == node.epoch && !link.is_closed()).then_some(link)
    }
}

/// The live owner of a shard. Without one the answer is `NOT_COORDINATOR`: the one error that every group API's clients
/// take as a reason to look for the coordinator again and come back.
fn owner_of(image: &MetadataImage, shard: ShardId) -> Result<Owner<'_>, ErrorCode> {
    let assignment = image.shards.get(&shard).ok_or(ErrorCode::NotCoordinator)?;
    let node = assignment
        .owner
        .and_then(|owner| image.nodes.get(&owner))
        .filter(|node| node.is_live());
    Ok(Owner {
        node: node.ok_or(ErrorCode::NotCoordinator)?,
        epoch: assignment.epoch,
    })
}

/// How long a reply may take. A coordinator bounds its own waits well below; only a join and a sync stay parked for as
/// long as the rebalance timeout of the group's members says, or until the stream breaks.
fn reply_limit(api_key: i16) -> Option<Duration> {
    let parks = api_key == ApiKey::JoinGroup.code() || api_key == ApiKey::SyncGroup.code();
    (!parks).then_some(REPLY_LIMIT)
}
