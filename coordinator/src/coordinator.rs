//! A coordinator as a part of a process: started with what it needs, served on a listener, stopped with the process.

use std::sync::Arc;

use highwater_node::clock::Clock;
use highwater_node::shutdown::Shutdown;
use highwater_node::telemetry::Metrics;
use highwater_node::transport::{self, Dialer, Listener};
use highwater_proto::grpc::coordinator_server::CoordinatorServer;
use highwater_proto::metadata::MetadataImage;
use highwater_proto::types::ShardId;
use tokio::sync::watch;

use crate::config::CoordinatorConfig;
use crate::lag;
use crate::runtime::{Brokers, Runtime, supervise};
use crate::service::Service;
use crate::shard::ShardState;

/// What a coordinator needs of the process around it.
pub struct CoordinatorContext {
    /// The images as they come (`ControllerLink::images`).
    pub images: watch::Receiver<Arc<MetadataImage>>,
    /// Reaches brokers.
    pub dialer: Dialer,
    /// The time.
    pub clock: Clock,
    /// Where consumer lag is shown.
    pub metrics: Metrics,
    /// When it stops; its tasks are waited for.
    pub shutdown: Shutdown,
}

/// A running coordinator. It owns the shards that the image gives to its node id, from the moment it is started.
#[derive(Clone)]
pub struct Coordinator {
    runtime: Arc<Runtime>,
    shutdown: Shutdown,
}

impl Coordinator {
    /// Starts taking over shards. Requests are answered once [`Self::serve`] runs.
    #[must_use]
    pub fn start(config: CoordinatorConfig, context: CoordinatorContext) -> Self {
        let CoordinatorContext {
            images,
            dialer,
            clock,
            metrics,
            shutdown,
        } = context;
        let runtime = Arc::new(Runtime::new(config, clock, images, Brokers::new(dialer)));
        runtime.metrics.register(&metrics, &runtime);
        shutdown.spawn(supervise(Arc::clone(&runtime), shutdown.token()));
        shutdown.spawn(lag::watch(Arc::clone(&runtime), metrics, shutdown.token()));
        Self { runtime, shutdown }
    }

    /// The gRPC service, for a server that has others too.
    #[must_use]
    pub fn service(&self) -> CoordinatorServer<Service> {
        Service::server(Arc::clone(&self.runtime), self.shutdown.token())
    }

    /// Answers brokers on a listener until the process stops.
    ///
    /// # Errors
    /// Those of the server.
    pub async fn serve(&self, listener: Listener) -> Result<(), tonic::transport::Error> {
        let router = transport::server().add_service(self.service());
        transport::serve(router, listener, self.shutdown.token(), self.shutdown.grace()).await
    }

    /// The shards that are owned, with what they are doing.
    #[must_use]
    pub fn shards(&self) -> Vec<(ShardId, ShardState)> {
        self.runtime.states()
    }

    /// Hands shards over: they take no more requests, finish what is in flight, and send parked requests away. A shard
    /// that nobody else gets is taken over again after a while.
    pub async fn release(&self, shards: &[ShardId]) {
        self.runtime.release(shards).await;
    }
}
