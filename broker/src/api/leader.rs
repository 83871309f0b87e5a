//! Which broker to turn to instead, and where it listens for the same kind of client (KIP-951).

use highwater_proto::kafka::ByteStr;
use highwater_proto::metadata::{MetadataImage, Topic};

use crate::client::Client;

/// The leader of a partition as a client may reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeaderHint {
    /// Node id.
    pub(super) id: i32,
    /// Leader epoch.
    pub(super) epoch: i32,
    /// Host on the client's listener.
    pub(super) host: ByteStr,
    /// Port on it.
    pub(super) port: i32,
    /// Failure domain.
    pub(super) rack: Option<ByteStr>,
}

/// The leader that the image names; none if there is none or if it does not listen where the client came in.
pub(super) fn hint(image: &MetadataImage, topic: &Topic, index: i32, client: &Client) -> Option<LeaderHint> {
    let partition = topic.partitions.get(usize::try_from(index).ok()?)?;
    let node = image.nodes.get(&partition.leader?)?;
    let endpoint = node.endpoint(&client.listener)?;
    Some(LeaderHint {
        id: node.id.get(),
        epoch: partition.leader_epoch.get(),
        host: ByteStr::from(endpoint.host.as_str()),
        port: i32::from(endpoint.port),
        rack: node.registration.rack.as_deref().map(ByteStr::from),
    })
}
