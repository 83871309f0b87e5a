//! A coordinator as a process runs it: register, take shards over, serve; and the way back.

use std::sync::Arc;
use std::time::Duration;

use highwater_node::clock::Clock;
use highwater_node::config::NodeConfig;
use highwater_node::http::HealthCheck;
use highwater_node::session::{
    ControllerLink, LinkError, LinkOptions, NodeStatus, Question, Recovery, Registration, Reply,
};
use highwater_node::shutdown::Shutdown;
use highwater_node::telemetry::Metrics;
use highwater_node::transport::{Dialer, Listener};
use highwater_proto::metadata::{Endpoint, NodeRegistration, NodeRole};
use highwater_proto::types::{NodeId, ShardId};
use uuid::Uuid;

use crate::api;
use crate::config::CoordinatorConfig;
use crate::coordinator::{Coordinator, CoordinatorContext};
use crate::shard::ShardState;

/// How long the controller may take to let the coordinator in; it goes on trying.
const UNFENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a stop waits for what is in flight.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the controller may take to move the shards away; the coordinator stops all the same.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);

/// What a coordinator process is given.
pub struct ProcessParts<'a> {
    /// Its configuration.
    pub config: &'a NodeConfig,
    /// The cluster that it belongs to; empty = any.
    pub cluster_id: String,
    /// Hosts and ports of the controllers.
    pub controllers: Vec<(String, u16)>,
    /// Reaches controllers and brokers.
    pub dialer: Dialer,
    /// Where brokers reach it.
    pub grpc: Listener,
    /// The time.
    pub clock: Clock,
    /// The wish to stop.
    pub shutdown: Shutdown,
    /// Where its figures go.
    pub metrics: Metrics,
    /// Says whether it serves.
    pub health: HealthCheck,
}

/// A running coordinator.
pub struct CoordinatorProcess {
    link: ControllerLink,
    coordinator: Coordinator,
    shutdown: Shutdown,
}

impl CoordinatorProcess {
    /// Registers, serves brokers, and takes over the shards that the controller gives it.
    ///
    /// # Errors
    /// When the controller does not take it in.
    pub async fn start(parts: ProcessParts<'_>) -> Result<Self, LinkError> {
        let ProcessParts {
            config,
            dialer,
            grpc,
            clock,
            shutdown,
            metrics,
            health,
            ..
        } = parts;
        health.not_ready("registering with the controller");
        let options = LinkOptions {
            controllers: parts.controllers,
            dialer: dialer.clone(),
            session: config.session,
            status: Arc::new(NodeStatus::default),
        };
        let link = ControllerLink::connect(
            options,
            registration(parts.cluster_id, config.pod_uid.clone(), &grpc),
            &shutdown.token(),
        )
        .await?;
        let coordinator = Coordinator::start(
            CoordinatorConfig::of(link.identity()?.node_id, config),
            CoordinatorContext {
                images: link.images(),
                dialer,
                clock,
                metrics,
                shutdown: shutdown.clone(),
            },
        );
        shutdown.spawn(hand_over(coordinator.clone(), link.clone(), shutdown.clone()));
        let (serving, stop) = (coordinator.clone(), shutdown.clone());
        shutdown.spawn(async move {
            if let Err(error) = serving.serve(grpc).await {
                tracing::error!(%error, "the coordinator's server failed; the process stops");
                stop.trigger();
            }
        });
        link.unfence(Recovery::default(), UNFENCE_TIMEOUT).await?;
        health.ready();
        Ok(Self {
            link,
            coordinator,
            shutdown,
        })
    }

    /// The id that the controller gave it.
    ///
    /// # Errors
    /// When the session is over for good.
    pub fn node_id(&self) -> Result<NodeId, LinkError> {
        Ok(self.link.identity()?.node_id)
    }

    /// The shards that are owned, with what they are doing.
    #[must_use]
    pub fn shards(&self) -> Vec<(ShardId, ShardState)> {
        self.coordinator.shards()
    }

    /// Completes when the controller wants nothing more to do with this process.
    pub async fn failed(&self) -> LinkError {
        self.link.failed().await
    }

    /// Hands its shards over and ends.
    pub async fn stop(self) {
        let owned: Vec<ShardId> = self.coordinator.shards().into_iter().map(|(id, _)| id).collect();
        if tokio::time::timeout(RELEASE_TIMEOUT, self.coordinator.release(&owned))
            .await
            .is_err()
        {
            tracing::warn!("some shards had appends in flight when the time to hand them over ended");
        }
        // They are assigned to others at once: nothing is in flight here.
        if let Err(error) = self.link.leave(LEAVE_TIMEOUT).await {
            tracing::warn!(%error, "the controller did not take the shards back in time");
        }
        self.shutdown.trigger();
        if let Err(error) = self.shutdown.finished().await {
            tracing::warn!(%error, "some requests were cut off");
        }
        self.link.close();
    }
}

/// Releases shards when the controller asks for it, each question in its own time.
async fn hand_over(coordinator: Coordinator, link: ControllerLink, shutdown: Shutdown) {
    let Some(mut questions) = link.questions() else { return };
    loop {
        let question = tokio::select! {
            () = shutdown.triggered() => return,
            question = questions.recv() => question,
        };
        match question {
            Some(Question::Release { id, shards }) => {
                let (coordinator, link) = (coordinator.clone(), link.clone());
                shutdown.spawn(async move {
                    coordinator.release(&shards).await;
                    link.reply(Reply::Released { id, shards });
                });
            }
            // What is asked of brokers.
            Some(
                Question::LogEnds { .. }
                | Question::HandOver { .. }
                | Question::Keep { .. }
                | Question::ReplicaSizes { .. }
                | Question::Retire { .. },
            ) => {}
            None => return,
        }
    }
}

fn registration(cluster_id: String, pod_uid: Option<String>, grpc: &Listener) -> Registration {
    Registration {
        node_id: None,
        cluster_id,
        node: NodeRegistration {
            role: NodeRole::Coordinator,
            incarnation: Uuid::new_v4(),
            directory_id: Uuid::nil(),
            endpoints: vec![Endpoint {
                name: "GRPC".to_owned(),
                host: grpc.host().to_owned(),
                port: grpc.port(),
            }],
            rack: None,
            api_ranges: api::api_ranges(),
            pod_uid,
        },
        // It keeps nothing on disk.
        clean_shutdown: true,
        seen: Default::default(),
    }
}
