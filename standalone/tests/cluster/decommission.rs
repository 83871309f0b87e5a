//! A broker is emptied, proves it, is unregistered, and its disk is used again: what an operator asks of controller and
//! broker, one after the other.

use std::path::Path;
use std::time::{Duration, Instant};

use highwater_broker::process::StartError;
use highwater_node::data_dir::DataDir;
use highwater_node::session::LinkError;
use highwater_node::transport::Dialer;
use highwater_proto::grpc;
use highwater_proto::grpc::admin_client::AdminClient;
use highwater_proto::grpc::broker_client::BrokerClient;
use highwater_proto::types::NodeId;
use tokio::runtime::{Builder, Runtime};

use crate::client::Client;
use crate::cluster::{Cluster, LIMIT};

/// What an operator asks, over TCP.
struct Operator {
    runtime: Runtime,
    controller: (String, u16),
}

impl Operator {
    fn new(cluster: &Cluster) -> Self {
        Self {
            runtime: Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap(),
            controller: cluster.controller_address(),
        }
    }

    fn status(&self, id: i32) -> grpc::decommission_status_response::Node {
        let request = grpc::NodesRequest { node_ids: vec![id] };
        let answer = self.runtime.block_on(async {
            let mut admin = AdminClient::new(Dialer::tcp().channel(&self.controller.0, self.controller.1));
            admin.decommission_status(request).await.unwrap()
        });
        answer.into_inner().nodes.remove(0)
    }

    fn decommission(&self, id: i32) {
        let request = grpc::DecommissionRequest {
            node_ids: vec![id],
            throttle_bytes_per_second: 100 << 20,
        };
        let answer = self.runtime.block_on(async {
            let mut admin = AdminClient::new(Dialer::tcp().channel(&self.controller.0, self.controller.1));
            admin.decommission(request).await.unwrap()
        });
        assert_eq!(answer.into_inner().outcome.unwrap().code, 0);
    }

    fn unregister(&self, id: i32, epoch: i64) -> grpc::Outcome {
        let request = grpc::UnregisterBrokerRequest {
            broker_id: id,
            epoch: Some(epoch),
        };
        let answer = self.runtime.block_on(async {
            let mut admin = AdminClient::new(Dialer::tcp().channel(&self.controller.0, self.controller.1));
            admin.unregister_broker(request).await.unwrap()
        });
        answer.into_inner().outcome.unwrap()
    }

    /// What the broker itself says of its disk.
    fn directories(&self, cluster: &Cluster, id: i32) -> grpc::PartitionDirectoriesResponse {
        let image = cluster.image();
        let endpoints = &image.node(NodeId(id)).unwrap().registration.endpoints;
        let endpoint = endpoints.iter().find(|endpoint| endpoint.name == "GRPC").unwrap();
        self.runtime.block_on(async {
            let mut broker = BrokerClient::new(Dialer::tcp().channel("127.0.0.1", endpoint.port));
            let request = grpc::PartitionDirectoriesRequest {};
            broker.partition_directories(request).await.unwrap().into_inner()
        })
    }
}

fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !reached() {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        // A process of its own tells nobody: it is asked again.
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn strays(data_dir: &Path) -> usize {
    let entries = std::fs::read_dir(data_dir).unwrap().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().ends_with("-stray"))
        .count()
}

#[test]
fn a_broker_leaves_for_good_and_its_disk_begins_anew() {
    let mut cluster = Cluster::start();
    let operator = Operator::new(&cluster);
    let address = cluster.addresses.lock().unwrap()[0];
    Client::connect(address).create_with("t", 6, 2);
    cluster.wait_until(|| {
        cluster
            .image()
            .topic("t")
            .is_some_and(|topic| topic.partitions.iter().all(|it| it.isr.len() == 2))
    });
    let on_3 = || {
        let image = cluster.image();
        let partitions = &image.topic("t").unwrap().partitions;
        partitions.iter().filter(|it| it.replicas.contains(&NodeId(3))).count()
    };
    let before = on_3();
    assert!(before > 0);
    // A directory comes with the first record. Only the leader of a partition takes it.
    let mut taken = 0;
    for address in cluster.addresses.lock().unwrap().clone() {
        let codes = Client::connect(address).produce_to("t", &[0, 1, 2, 3, 4, 5], "some record");
        taken += codes.iter().filter(|(_, code)| *code == 0).count();
    }
    assert_eq!(taken, 6);
    until("its replicas have their directories", || {
        operator.directories(&cluster, 3).partitions == before as i32
    });
    let told = operator.status(3);
    assert!(!told.empty && told.bytes_remaining > 0, "{told:?}");

    operator.decommission(3);
    until("it is empty", || operator.status(3).empty);
    let status = operator.status(3);
    assert_eq!((status.bytes_remaining, status.eta_seconds), (0, Some(0)));
    until("its disk is, too", || operator.directories(&cluster, 3).partitions == 0);
    let proof = operator.directories(&cluster, 3);
    assert_eq!((proof.broker_id, proof.broker_epoch), (3, status.epoch));

    let data_dir = cluster.data_dir(3);
    let directory_id = |dir: &DataDir| dir.identity(None).unwrap().directory_id;
    let stale = operator.unregister(3, status.epoch + 1);
    assert_eq!(stale.code, 77);
    assert!(!data_dir.join("DECOMMISSIONED").exists());
    let done = operator.unregister(3, status.epoch);
    assert_eq!((done.code, done.message), (0, None), "it has marked its disk");
    let marked = std::fs::read_to_string(data_dir.join("DECOMMISSIONED")).unwrap();
    assert!(
        marked.contains("node.id=3\n") && marked.contains("pod.uid=first-3\n"),
        "{marked}"
    );
    assert!(matches!(cluster.wait_until_broker_failed(3), LinkError::Refused(_)));
    assert!(cluster.image().node(NodeId(3)).is_none());

    // The pod is still there for a moment: it is not to come back in it.
    let again = cluster.try_start_broker(3, "first");
    assert!(matches!(again, Err(StartError::Decommissioned(NodeId(3)))), "{again:?}");
    let old_id = directory_id(&DataDir::open(&data_dir).unwrap());
    // Something that was forgotten there.
    std::fs::create_dir(data_dir.join("left-0")).unwrap();
    std::fs::write(data_dir.join("left-0/00000000000000000000.log"), b"records").unwrap();
    let strays_before = strays(&data_dir);
    cluster.try_start_broker(3, "second").unwrap();
    let image = cluster.image();
    let node = image.node(NodeId(3)).unwrap();
    assert!(node.epoch.get() > status.epoch && node.registration.directory_id != old_id);
    assert_eq!(node.registration.pod_uid.as_deref(), Some("second-3"));
    assert_eq!(node.duty, Default::default(), "nobody wants it to drain");
    assert!(!data_dir.join("DECOMMISSIONED").exists());
    assert_eq!(strays(&data_dir), strays_before + 1);
    until("the new broker gets its share", || on_new(&cluster) > 0);
    cluster.wait_until(|| {
        cluster
            .image()
            .topic("t")
            .unwrap()
            .partitions
            .iter()
            .all(|it| it.isr.len() == 2)
    });
}

fn on_new(cluster: &Cluster) -> usize {
    let image = cluster.image();
    let partitions = &image.topic("t").unwrap().partitions;
    partitions.iter().filter(|it| it.isr.contains(&NodeId(3))).count()
}
