//! Connections to brokers.

use std::collections::HashMap;

use highwater_node::transport::{Channel, Dialer, MAX_MESSAGE_BYTES};
use highwater_proto::grpc::broker_client::BrokerClient;
use highwater_proto::metadata::MetadataImage;
use highwater_proto::types::{BrokerEpoch, NodeId};
use parking_lot::Mutex;

/// The listener that our processes speak gRPC on.
pub(crate) const GRPC_LISTENER: &str = "GRPC";

/// One channel per broker and incarnation.
pub(crate) struct Brokers {
    dialer: Dialer,
    clients: Mutex<HashMap<NodeId, (BrokerEpoch, BrokerClient<Channel>)>>,
}

impl Brokers {
    pub(crate) fn new(dialer: Dialer) -> Self {
        Self {
            dialer,
            clients: Mutex::new(HashMap::new()),
        }
    }

    /// A client of the broker; `None` if the image does not know where it is.
    pub(crate) fn client(&self, image: &MetadataImage, id: NodeId) -> Option<BrokerClient<Channel>> {
        let node = image.nodes.get(&id)?;
        let mut clients = self.clients.lock();
        if let Some((epoch, client)) = clients.get(&id)
            && *epoch == node.epoch
        {
            return Some(client.clone());
        }
        let endpoint = node.endpoint(GRPC_LISTENER)?;
        let client = BrokerClient::new(self.dialer.channel(&endpoint.host, endpoint.port))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        clients.insert(id, (node.epoch, client.clone()));
        Some(client)
    }

    /// Drops the channels to brokers that are gone.
    pub(crate) fn retain(&self, image: &MetadataImage) {
        self.clients.lock().retain(|id, _| image.nodes.contains_key(id));
    }
}
