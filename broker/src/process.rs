//! A broker as a process runs it: recover, register, follow the cluster, serve; and the way back.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use highwater_node::clock::Clock;
use highwater_node::config::{ListenerConfig, NodeConfig};
use highwater_node::data_dir::{DataDir, DataDirError, Decommissioned, MetaProperties};
use highwater_node::http::HealthCheck;
use highwater_node::open_files::OpenFiles;
use highwater_node::session::{
    ControllerLink, LinkError, LinkOptions, NodeStatus, Recovery, Registration, StatusSource,
};
use highwater_node::shutdown::Shutdown;
use highwater_node::telemetry::Metrics;
use highwater_node::transport::{self, Dialer, Listener};
use highwater_proto::config::StaticValues;
use highwater_proto::metadata::{DiskPressure, Endpoint, NodeRegistration, NodeRole};
use highwater_proto::types::NodeId;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::api::SERVED;
use crate::broker::{Broker, BrokerParts};
use crate::log::{LogDir, LogError};
use crate::partitions::{RecoveredLogs, RecoveryReport};
use crate::questions;
use crate::service::Service;
use crate::worker_stalls::WorkerStalls;

/// How long the controller may take to let the broker in; it goes on trying.
const UNFENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// Files that are kept open while directories are only moved.
const FILES_TO_MOVE_ASIDE: usize = 16;
/// How often the disk's room is looked at while it changes. What is appended meanwhile is counted.
const DISK_LOOK: Duration = Duration::from_millis(250);
/// The same while nobody writes: an idle broker is to wake up rarely.
const IDLE_DISK_LOOK: Duration = Duration::from_secs(1);
/// How often it is noted how new the metadata is, if it is newer than noted. A restore leaves room for what was not.
const SEEN_INTERVAL: Duration = Duration::from_secs(10);
/// The part of the time to stop that the controller may take to move leaders away; the rest is for the logs.
const LEAVE_PART: f64 = 0.6;
/// How long a broker that stops waits for a controller to appear: longer than another one needs to take over.
const CONTROLLER_ABSENCE: Duration = Duration::from_secs(5);
const CONNECTION_LOOK: Duration = Duration::from_millis(50);
/// How long the start waits for a disk to take what recovery found.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);
const FLUSH_LOOK: Duration = Duration::from_millis(1);

/// Why a broker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The logs cannot be used.
    #[error("the logs cannot be opened: {0}")]
    Log(#[from] LogError),
    /// The controller did not take the broker in.
    #[error(transparent)]
    Controller(#[from] LinkError),
    /// It was unregistered in this very pod, which is to be removed.
    #[error("broker {0} was unregistered: remove this pod. In another one its disk begins anew")]
    Decommissioned(NodeId),
    /// The process is being stopped.
    #[error("stopped while recovering the logs")]
    Stopped,
}

/// What a broker process is given.
pub struct ProcessParts<'a> {
    /// Its configuration.
    pub config: &'a NodeConfig,
    /// Its data directory, which it has for itself.
    pub data_dir: Arc<DataDir>,
    /// Hosts and ports of the controllers.
    pub controllers: Vec<(String, u16)>,
    /// Reaches controllers and coordinators.
    pub dialer: Dialer,
    /// Where coordinators reach it.
    pub grpc: Listener,
    /// Where clients reach it: bound, so that the ports are known.
    pub listeners: Vec<(ListenerConfig, TcpListener)>,
    /// The time.
    pub clock: Clock,
    /// The wish to stop.
    pub shutdown: Shutdown,
    /// Where its figures go.
    pub metrics: Metrics,
    /// Says whether clients are served.
    pub health: HealthCheck,
}

/// A running broker.
pub struct BrokerProcess {
    broker: Arc<Broker>,
    link: ControllerLink,
    shutdown: Shutdown,
}

impl BrokerProcess {
    /// Recovers the logs, registers, and serves clients once the cluster counts on this broker.
    ///
    /// # Errors
    /// [`StartError`]; nothing is served then.
    pub async fn start(parts: ProcessParts<'_>) -> Result<Self, StartError> {
        say_what_may_be_open(parts.config);
        let ProcessParts {
            config,
            data_dir,
            dialer,
            clock,
            shutdown,
            metrics,
            health,
            ..
        } = parts;
        begin_anew(&data_dir, config.pod_uid.clone()).await?;
        health.not_ready("recovering the logs");
        let recovered = recover(Arc::clone(&data_dir), config.fixed.clone(), clock.clone()).await?;
        let report = recovered.report().clone();

        health.not_ready("registering with the controller");
        let identity = data_dir.identity(config.node_id)?;
        let mut registration = registration(config, &identity, &parts.listeners, &parts.grpc, &report);
        registration.seen = data_dir.seen();
        let seat = Arc::new(OnceLock::new());
        let options = LinkOptions {
            controllers: parts.controllers,
            dialer: dialer.clone(),
            session: config.session,
            status: status_source(&data_dir, &seat, &shutdown),
        };
        let link = ControllerLink::connect(options, registration, &shutdown.token()).await?;
        let registered = link.identity()?;
        data_dir.write_identity(&MetaProperties {
            cluster_id: Some(registered.cluster_id.clone()),
            node_id: Some(registered.node_id),
            ..identity
        })?;

        let admin = link.clone();
        let broker = Broker::start(BrokerParts {
            node_id: registered.node_id,
            epoch: registered.epoch,
            config: config.broker.clone(),
            fixed: config.fixed.clone(),
            inter_broker_listener: config.listeners.inter_broker.clone(),
            recovered,
            images: link.images(),
            controller: Box::new(move || admin.admin()),
            dialer,
            clock,
            shutdown: shutdown.clone(),
        })?;
        let _ = seat.set(Arc::downgrade(&broker));
        let mark = Decommissioned {
            node_id: registered.node_id,
            epoch: registered.epoch,
            pod_uid: config.pod_uid.clone(),
        };
        questions::answer(&broker, &link, Arc::clone(&data_dir), mark);
        watch_disk(&broker, Arc::clone(&data_dir));
        note_what_is_seen(&link, data_dir, &shutdown);
        broker.metrics().register(&metrics, &broker);
        serve_grpc(&broker, parts.grpc, &shutdown);

        health.not_ready("waiting for the controller to count on this broker");
        let image = link.image();
        broker
            .wait_for_image(image.revision, tokio::time::Instant::now() + UNFENCE_TIMEOUT)
            .await;
        wait_for_flush(&broker).await;
        let unfenced = link.unfence(recovery(&report), UNFENCE_TIMEOUT).await?;
        broker.partitions().log_dir().distrust_is_known();
        broker
            .wait_for_image(unfenced, tokio::time::Instant::now() + UNFENCE_TIMEOUT)
            .await;
        for (listener, socket) in parts.listeners {
            let broker = Arc::clone(&broker);
            shutdown.spawn(async move { broker.serve(socket, &listener.name).await });
        }
        health.ready();
        Ok(Self { broker, link, shutdown })
    }

    /// The broker.
    #[must_use]
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// Completes when the controller wants nothing more to do with this process.
    pub async fn failed(&self) -> LinkError {
        self.link.failed().await
    }

    /// Leaves the cluster, finishes what clients wait for, and closes the logs. What does not end in time is left to the
    /// next start's recovery.
    pub async fn stop(self) {
        let left = tokio::select! {
            left = self.link.leave(self.shutdown.grace().mul_f64(LEAVE_PART)) => left.map(drop),
            () = without_controller(&self.link) => Err(LinkError::Timeout(CONTROLLER_ABSENCE)),
        };
        if let Err(error) = left {
            tracing::warn!(%error, "the controller did not move this broker's leaders away in time");
        }
        self.shutdown.trigger();
        if let Err(error) = self.shutdown.finished().await {
            tracing::warn!(%error, "some requests were cut off");
        }
        self.link.close();
        match self.broker.close().await {
            Ok(()) => tracing::info!("all logs are closed"),
            Err(error) => tracing::error!(%error, "the logs were not closed cleanly; the next start recovers them"),
        }
    }
}

fn say_what_may_be_open(config: &NodeConfig) {
    let OpenFiles {
        limit,
        log_files,
        connections,
    } = OpenFiles::of_process();
    let connections = connections.min(config.broker.network.max_connections);
    tracing::info!(limit, log_files, connections, "what may be open at a time");
}

/// Completes once there was no session for so long that there is nobody to hand over with.
async fn without_controller(link: &ControllerLink) {
    let mut absent_since = None;
    loop {
        let now = tokio::time::Instant::now();
        match absent_since {
            _ if link.is_connected() => absent_since = None,
            Some(since) if now.duration_since(since) >= CONTROLLER_ABSENCE => return,
            Some(_) => {}
            None => absent_since = Some(now),
        }
        tokio::time::sleep(CONNECTION_LOOK).await;
    }
}

/// The disk of a broker that was unregistered: what is on it is moved aside, and this is a new broker.
async fn begin_anew(data_dir: &Arc<DataDir>, pod_uid: Option<String>) -> Result<(), StartError> {
    let Some(mark) = data_dir.decommissioned()? else {
        return Ok(());
    };
    if pod_uid.is_some() && pod_uid == mark.pod_uid {
        return Err(StartError::Decommissioned(mark.node_id));
    }
    let dir = Arc::clone(data_dir);
    let moving = tokio::task::spawn_blocking(move || {
        let replicas = LogDir::open(dir.path(), FILES_TO_MOVE_ASIDE)?.retire()?;
        dir.begin_anew()?;
        Ok::<_, StartError>(replicas)
    });
    let replicas = moving.await.map_err(|_| StartError::Stopped)??;
    tracing::warn!(
        earlier = %mark.node_id,
        replicas,
        "the broker that had this disk was unregistered: what is on it was moved aside, and this is a new broker"
    );
    Ok(())
}

async fn recover(data_dir: Arc<DataDir>, fixed: StaticValues, clock: Clock) -> Result<RecoveredLogs, StartError> {
    let opening = tokio::task::spawn_blocking(move || {
        let mut recovered = RecoveredLogs::open(data_dir.path(), &fixed, clock.now_ms())?;
        recovered.remove_deleted();
        Ok(recovered)
    });
    let recovered: RecoveredLogs = opening
        .await
        .map_err(|_| StartError::Stopped)?
        .map_err(StartError::Log)?;
    let report = recovered.report();
    tracing::info!(
        clean = report.clean,
        scanned_bytes = report.scanned_bytes,
        short = report.short.len(),
        offline = report.offline.len(),
        missing = report.missing.len(),
        untrusted = report.untrusted.len(),
        "logs recovered"
    );
    Ok(recovered)
}

fn registration(
    config: &NodeConfig,
    identity: &MetaProperties,
    listeners: &[(ListenerConfig, TcpListener)],
    grpc: &Listener,
    report: &RecoveryReport,
) -> Registration {
    let mut endpoints: Vec<Endpoint> = listeners
        .iter()
        .map(|(listener, socket)| endpoint(listener, socket))
        .collect();
    endpoints.push(Endpoint {
        name: "GRPC".to_owned(),
        host: grpc.host().to_owned(),
        port: grpc.port(),
    });
    Registration {
        node_id: config.node_id.or(identity.node_id),
        cluster_id: identity.cluster_id.clone().unwrap_or_default(),
        node: NodeRegistration {
            role: NodeRole::Broker,
            incarnation: Uuid::new_v4(),
            directory_id: identity.directory_id,
            endpoints,
            rack: config.rack.clone(),
            api_ranges: SERVED
                .iter()
                .map(|api| (api.key.code(), api.min_version, api.max_version))
                .collect(),
            pod_uid: config.pod_uid.clone(),
        },
        clean_shutdown: report.clean,
        seen: Default::default(),
    }
}

fn endpoint(listener: &ListenerConfig, socket: &TcpListener) -> Endpoint {
    let bound = socket.local_addr().map_or(listener.port, |address| address.port());
    Endpoint {
        name: listener.name.clone(),
        host: listener.advertised_host.clone(),
        port: listener.advertised_port.unwrap_or(bound),
    }
}

fn recovery(report: &RecoveryReport) -> Recovery {
    Recovery {
        short: report.short.clone(),
        missing: report.missing.clone(),
        offline: report.offline.clone(),
        untrusted: report.untrusted.clone(),
    }
}

/// What recovery found counts once it is flushed: as a leader before that, the broker would tell clients to ask again.
async fn wait_for_flush(broker: &Broker) {
    let flushed = async {
        while !broker.partitions().flusher().oldest_unfinished().is_zero() {
            tokio::time::sleep(FLUSH_LOOK).await;
        }
    };
    if tokio::time::timeout(FLUSH_TIMEOUT, flushed).await.is_err() {
        tracing::warn!("the disk has not taken yet what recovery found; clients wait for it");
    }
}

/// What heartbeats say: how the disk fares, and how far the broker has come, once there is one in its seat.
fn status_source(data_dir: &Arc<DataDir>, seat: &Arc<OnceLock<Weak<Broker>>>, shutdown: &Shutdown) -> StatusSource {
    let (data_dir, seat) = (Arc::clone(data_dir), Arc::clone(seat));
    let stalls = Arc::new(WorkerStalls::default());
    stalls.watch(shutdown);
    Arc::new(move || {
        let broker = seat.get().and_then(Weak::upgrade);
        // The figures of the file system are in the kernel's memory. Without them the heartbeat says nothing of the disk.
        let space = data_dir.space().ok();
        NodeStatus {
            applied_revision: broker.as_ref().map(|broker| broker.image().revision),
            disk_free_bytes: space.map_or(0, |space| space.free_bytes),
            disk_total_bytes: space.map_or(0, |space| space.total_bytes),
            disk_pressure: broker
                .as_ref()
                .map_or(DiskPressure::None, |broker| broker.disk().pressure()),
            disk_tenths: broker.as_ref().map_or(0, |broker| broker.disk().tenths()),
            oldest_unfinished_flush: broker
                .as_ref()
                .map_or(Duration::ZERO, |it| it.partitions().flusher().oldest_unfinished()),
            longest_worker_stall: stalls.take(),
        }
    })
}

/// Keeps on disk how new the metadata is that this broker has seen: should the metadata store be restored from a backup,
/// the next process start is to notice it.
fn note_what_is_seen(link: &ControllerLink, data_dir: Arc<DataDir>, shutdown: &Shutdown) {
    let (images, shutdown) = (link.images(), shutdown.clone());
    let stopping = shutdown.clone();
    shutdown.spawn(async move {
        let mut noted = None;
        loop {
            let stops = stopping.is_triggered();
            let seen = images.borrow().position();
            if noted != Some(seen) {
                let data_dir = Arc::clone(&data_dir);
                match tokio::task::spawn_blocking(move || data_dir.write_seen(seen)).await {
                    Ok(Ok(())) => noted = Some(seen),
                    Ok(Err(error)) => tracing::debug!(%error, "how new the metadata is was not noted"),
                    Err(_) => return,
                }
            }
            if stops {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(SEEN_INTERVAL) => {}
                () = stopping.triggered() => {}
            }
        }
    });
}

/// Looks at the disk's room as long as the broker runs.
fn watch_disk(broker: &Arc<Broker>, data_dir: Arc<DataDir>) {
    let broker = Arc::clone(broker);
    let shutdown = broker.shutdown().clone();
    shutdown.spawn(async move {
        if let Ok(space) = data_dir.space() {
            broker.disk().looked(space.free_bytes, space.total_bytes);
            let chosen = broker.static_values().values.contains_key("disk.soft.free.bytes");
            broker.disk().say_limits(chosen);
        }
        let mut free_before = None;
        loop {
            // The figures of the file system are in the kernel's memory.
            let free = data_dir.space().ok().map(|space| {
                broker.disk().looked(space.free_bytes, space.total_bytes);
                space.free_bytes
            });
            let idle = free == free_before && broker.disk().pressure() == DiskPressure::None;
            free_before = free;
            tokio::select! {
                () = tokio::time::sleep(if idle { IDLE_DISK_LOOK } else { DISK_LOOK }) => {}
                () = broker.shutdown().triggered() => return,
            }
        }
    });
}

fn serve_grpc(broker: &Arc<Broker>, listener: Listener, shutdown: &Shutdown) {
    let router = transport::server().add_service(Service::server(Arc::clone(broker)));
    let stop = shutdown.clone();
    shutdown.spawn(async move {
        if let Err(error) = transport::serve(router, listener, stop.token(), stop.grace()).await {
            tracing::error!(%error, "the broker's internal server failed; the process stops");
            stop.trigger();
        }
    });
}
