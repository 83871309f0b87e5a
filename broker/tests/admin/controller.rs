//! A controller that does what it is told at once, without the checks of the real one: what is under test is the
//! broker's side. Its images come late, as they do from a real one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use highwater_proto::grpc::alter_configs_request::Operation;
use highwater_proto::grpc::controller_server::Controller;
use highwater_proto::grpc::*;
use highwater_proto::metadata::{Change, ConfigResource, MetadataImage, MetadataUpdate, Partition, Topic};
use highwater_proto::types::{LeaderEpoch, NodeId, PartitionIndex, Revision, TopicId};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_stream::Empty;
use tonic::{Request, Response, Status};
use uuid::Uuid;

/// How long an image is on its way to the broker.
const IMAGE_DELAY: Duration = Duration::from_millis(30);
/// Producer ids per block: few, so that blocks run out.
pub const BLOCK: i32 = 3;

#[derive(Clone)]
pub struct ToyController {
    /// What is decided; the broker learns of it later.
    decided: Arc<Mutex<Arc<MetadataImage>>>,
    images: Arc<watch::Sender<Arc<MetadataImage>>>,
    next_producer_id: Arc<Mutex<i64>>,
    pub created: Arc<Mutex<Vec<CreateTopicsRequest>>>,
    pub altered: Arc<Mutex<Vec<AlterConfigsRequest>>>,
    pub reassigned: Arc<Mutex<Vec<AlterPartitionReassignmentsRequest>>>,
    pub elected: Arc<Mutex<Vec<ElectLeadersRequest>>>,
    /// Everything fails as if there were no controller.
    pub away: Arc<Mutex<bool>>,
    /// Deletions, growths and removals of brokers are carried out, and not answered.
    pub mute: Arc<Mutex<bool>>,
}

impl ToyController {
    pub fn new(image: MetadataImage) -> (Self, watch::Receiver<Arc<MetadataImage>>) {
        let image = Arc::new(image);
        let (images, receiver) = watch::channel(Arc::clone(&image));
        let controller = Self {
            decided: Arc::new(Mutex::new(image)),
            images: Arc::new(images),
            next_producer_id: Arc::new(Mutex::new(1_000)),
            created: Arc::default(),
            altered: Arc::default(),
            reassigned: Arc::default(),
            elected: Arc::default(),
            away: Arc::default(),
            mute: Arc::default(),
        };
        (controller, receiver)
    }

    pub fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&self.decided.lock())
    }

    /// The images as another broker gets them.
    pub fn images(&self) -> watch::Receiver<Arc<MetadataImage>> {
        self.images.subscribe()
    }

    fn check(&self) -> Result<(), Status> {
        if *self.away.lock() {
            Err(Status::unavailable("no controller"))
        } else {
            Ok(())
        }
    }

    /// To be awaited before an answer.
    async fn unless_mute(&self) {
        if *self.mute.lock() {
            std::future::pending().await
        }
    }

    /// Others lead and are in sync.
    fn take_offline(&self, broker: NodeId, replicas: &[session_request::ReplicaRef]) {
        let image = self.image();
        let mut changes = Vec::new();
        for replica in replicas {
            let id = TopicId(Uuid::from_slice(&replica.topic_id).expect("an id"));
            let index = PartitionIndex(replica.partition);
            let Some(partition) = image.partition(id, index) else {
                continue;
            };
            let mut changed = Partition::clone(partition);
            if !changed.offline_replicas.contains(&broker) {
                changed.offline_replicas.push(broker);
            }
            changed.isr.retain(|node| *node != broker);
            if changed.leader == Some(broker) {
                changed.leader = changed.isr.first().copied();
                changed.leader_epoch = LeaderEpoch(changed.leader_epoch.get() + 1);
            }
            changes.push(Change::PutPartition(id, index, changed));
        }
        if !changes.is_empty() {
            self.commit(changes);
        }
    }

    /// Decides; the revision at which it shows.
    pub fn commit(&self, changes: Vec<Change>) -> i64 {
        let mut decided = self.decided.lock();
        let revision = Revision(decided.revision.get() + 1);
        *decided = Arc::new(decided.apply(&MetadataUpdate { revision, changes }));
        let (image, images) = (Arc::clone(&decided), Arc::clone(&self.images));
        tokio::spawn(async move {
            tokio::time::sleep(IMAGE_DELAY).await;
            images.send_if_modified(|current| {
                let newer = image.revision > current.revision;
                if newer {
                    *current = image;
                }
                newer
            });
        });
        revision.get()
    }
}

fn proposed(proposal: &alter_partitions_request::Proposal) -> (TopicId, PartitionIndex) {
    let id = Uuid::from_slice(&proposal.topic_id).expect("an id");
    (TopicId(id), PartitionIndex(proposal.partition))
}

fn ok() -> Option<Outcome> {
    Some(Outcome::default())
}

fn refused(code: i32) -> Option<Outcome> {
    Some(Outcome {
        code,
        message: Some(format!("because of {code}")),
    })
}

fn partitions(topic_id: TopicId, range: std::ops::Range<i32>) -> impl Iterator<Item = Change> {
    let alone = Partition {
        replicas: vec![NodeId(0)],
        isr: vec![NodeId(0)],
        leader: Some(NodeId(0)),
        leader_epoch: LeaderEpoch(0),
        ..Partition::default()
    };
    range.map(move |index| Change::PutPartition(topic_id, PartitionIndex(index), alone.clone()))
}

fn put(topic: &Topic, count: i32, configs: BTreeMap<String, String>) -> Change {
    Change::PutTopic {
        name: topic.name.to_string(),
        topic_id: topic.id,
        partition_count: count,
        configs,
        owner: None,
    }
}

#[tonic::async_trait]
impl Controller for ToyController {
    type SessionStream = Empty<Result<SessionResponse, Status>>;
    type WatchMetadataStream = Empty<Result<highwater_proto::grpc::MetadataUpdate, Status>>;

    async fn session(
        &self,
        _: Request<tonic::Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn watch_metadata(
        &self,
        _: Request<WatchMetadataRequest>,
    ) -> Result<Response<Self::WatchMetadataStream>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn create_topics(
        &self,
        request: Request<CreateTopicsRequest>,
    ) -> Result<Response<CreateTopicsResponse>, Status> {
        self.check()?;
        let request = request.into_inner();
        self.created.lock().push(request.clone());
        let mut changes = Vec::new();
        let mut results = Vec::new();
        for topic in request.topics {
            let mut result = create_topics_response::Result {
                name: topic.name.clone(),
                ..Default::default()
            };
            if self.image().topic(&topic.name).is_some() {
                result.outcome = refused(36);
            } else {
                let id = TopicId(Uuid::from_slice(&topic.topic_id).expect("an id"));
                let count = if topic.partitions == -1 { 1 } else { topic.partitions };
                let configs: BTreeMap<_, _> = topic
                    .configs
                    .into_iter()
                    .map(|c| (c.name, c.value.expect("a value")))
                    .collect();
                changes.extend(partitions(id, 0..count));
                let set = configs.clone();
                changes.push(Change::PutTopic {
                    name: topic.name,
                    topic_id: id,
                    partition_count: count,
                    configs: set,
                    owner: None,
                });
                result.outcome = ok();
                result.topic_id = topic.topic_id;
                result.partitions = count;
                result.replication_factor = 1;
                result.configs = configs.into_iter().collect();
            }
            results.push(result);
        }
        let revision = self.commit(if request.validate_only { Vec::new() } else { changes });
        Ok(Response::new(CreateTopicsResponse { results, revision }))
    }

    async fn delete_topics(
        &self,
        request: Request<DeleteTopicsRequest>,
    ) -> Result<Response<DeleteTopicsResponse>, Status> {
        self.check()?;
        let image = self.image();
        let mut changes = Vec::new();
        let results = request.into_inner().targets.into_iter().map(|target| {
            let id = Uuid::from_slice(&target.topic_id).unwrap_or_default();
            let topic = match &target.name {
                Some(name) => image.topic(name),
                None => image.topic_by_id(TopicId(id)),
            };
            let missing = if target.name.is_some() { 3 } else { 100 };
            let mut result = delete_topics_response::Result {
                name: target.name.clone(),
                topic_id: target.topic_id.clone(),
                outcome: refused(missing),
            };
            if target.name.as_deref() == Some("protected") {
                result.outcome = refused(73);
            } else if let Some(topic) = topic {
                changes.push(Change::DeleteTopic {
                    name: topic.name.to_string(),
                    topic_id: topic.id,
                });
                result.name = Some(topic.name.to_string());
                result.topic_id = Bytes::copy_from_slice(topic.id.0.as_bytes());
                result.outcome = ok();
            }
            result
        });
        let results = results.collect();
        let revision = self.commit(changes);
        self.unless_mute().await;
        Ok(Response::new(DeleteTopicsResponse { results, revision }))
    }

    async fn create_partitions(
        &self,
        request: Request<CreatePartitionsRequest>,
    ) -> Result<Response<CreatePartitionsResponse>, Status> {
        self.check()?;
        let image = self.image();
        let mut changes = Vec::new();
        let results = request.into_inner().topics.into_iter().map(|growth| {
            let mut result = create_partitions_response::Result {
                name: growth.name.clone(),
                outcome: refused(3),
            };
            if let Some(topic) = image.topic(&growth.name) {
                let added = growth.count - topic.partitions.len() as i32;
                let assigned = growth.assignments.len() as i32;
                if growth.has_assignments && assigned != added {
                    result.outcome = refused(39);
                } else if added == 0 {
                    result.outcome = refused(37);
                } else {
                    changes.extend(partitions(topic.id, topic.partitions.len() as i32..growth.count));
                    changes.push(put(topic, growth.count, (*topic.configs).clone()));
                    result.outcome = ok();
                }
            }
            result
        });
        let results = results.collect();
        let revision = self.commit(changes);
        self.unless_mute().await;
        Ok(Response::new(CreatePartitionsResponse { results, revision }))
    }

    async fn alter_configs(
        &self,
        request: Request<AlterConfigsRequest>,
    ) -> Result<Response<AlterConfigsResponse>, Status> {
        self.check()?;
        let request = request.into_inner();
        self.altered.lock().push(request.clone());
        let image = self.image();
        let mut changes = Vec::new();
        let results = request.resources.into_iter().map(|resource| {
            let mut result = alter_configs_response::Result {
                resource_type: resource.resource_type,
                resource_name: resource.resource_name.clone(),
                outcome: ok(),
            };
            let topic = image.topic(&resource.resource_name);
            let stored = topic
                .filter(|_| !resource.replace)
                .map(|topic| (*topic.configs).clone());
            let mut configs = stored.unwrap_or_default();
            for alteration in resource.alterations {
                if alteration.operation() == Operation::Delete {
                    configs.remove(&alteration.name);
                } else {
                    configs.insert(alteration.name, alteration.value.unwrap_or_default());
                }
            }
            match topic {
                Some(topic) => changes.push(put(topic, topic.partitions.len() as i32, configs)),
                None if resource.resource_type == 4 => {
                    changes.push(Change::PutConfig(ConfigResource::ClusterDefault, configs));
                }
                None => result.outcome = refused(3),
            }
            result
        });
        let results = results.collect();
        let revision = self.commit(changes);
        Ok(Response::new(AlterConfigsResponse { results, revision }))
    }

    async fn alter_partition_reassignments(
        &self,
        request: Request<AlterPartitionReassignmentsRequest>,
    ) -> Result<Response<AlterPartitionReassignmentsResponse>, Status> {
        self.check()?;
        let request = request.into_inner();
        let image = self.image();
        let mut changes = Vec::new();
        let results = request.reassignments.iter().map(|asked| {
            let mut result = alter_partition_reassignments_response::Result {
                topic: asked.topic.clone(),
                partition: asked.partition,
                outcome: ok(),
            };
            let index = PartitionIndex(asked.partition);
            let topic = image.topic(&asked.topic);
            match (
                topic.and_then(|topic| Some((topic, topic.partition(index)?))),
                &asked.target,
            ) {
                (None, _) => result.outcome = refused(3),
                (Some(_), None) => result.outcome = refused(85),
                (Some((topic, partition)), Some(target)) => {
                    let new: Vec<NodeId> = target.replicas.iter().copied().map(NodeId).collect();
                    let removing: Vec<NodeId> = partition
                        .replicas
                        .iter()
                        .copied()
                        .filter(|id| !new.contains(id))
                        .collect();
                    let changed = Partition {
                        adding: new
                            .iter()
                            .copied()
                            .filter(|id| !partition.replicas.contains(id))
                            .collect(),
                        replicas: new.into_iter().chain(removing.clone()).collect(),
                        removing,
                        ..(**partition).clone()
                    };
                    changes.push(Change::PutPartition(topic.id, index, changed));
                }
            }
            result
        });
        let results = results.collect();
        self.reassigned.lock().push(request);
        let revision = self.commit(changes);
        Ok(Response::new(AlterPartitionReassignmentsResponse { results, revision }))
    }

    async fn elect_leaders(
        &self,
        request: Request<ElectLeadersRequest>,
    ) -> Result<Response<ElectLeadersResponse>, Status> {
        self.check()?;
        let request = request.into_inner();
        let image = self.image();
        let all = image.topics().flat_map(|topic| {
            topic
                .indexed_partitions()
                .map(|(index, _)| elect_leaders_request::TopicPartition {
                    topic: topic.name.to_string(),
                    partition: index.get(),
                })
        });
        let partitions = if request.all {
            all.collect()
        } else {
            request.partitions.clone()
        };
        let results = partitions.into_iter().map(|named| {
            let known = image
                .topic(&named.topic)
                .is_some_and(|topic| topic.partition(PartitionIndex(named.partition)).is_some());
            elect_leaders_response::Result {
                // Partition 1 never needs an election.
                outcome: match (known, named.partition) {
                    (false, _) => refused(3),
                    (true, 1) => refused(84),
                    (true, _) => ok(),
                },
                topic: named.topic,
                partition: named.partition,
            }
        });
        let results = results.collect();
        self.elected.lock().push(request);
        let revision = self.commit(Vec::new());
        Ok(Response::new(ElectLeadersResponse { results, revision }))
    }

    async fn unregister_broker(
        &self,
        request: Request<UnregisterBrokerRequest>,
    ) -> Result<Response<UnregisterBrokerResponse>, Status> {
        self.check()?;
        let request = request.into_inner();
        let id = NodeId(request.broker_id);
        let known = self.image().node(id).map(|node| node.epoch.get());
        let changes = match known {
            // The broker under test needs itself.
            Some(_) if id != NodeId(0) => vec![Change::DeleteNode(id)],
            _ => Vec::new(),
        };
        let outcome = match (known, request.epoch) {
            (None, _) => refused(102),
            (Some(known), Some(meant)) if known != meant => refused(77),
            _ => ok(),
        };
        let done = outcome == ok();
        let revision = self.commit(if done { changes } else { Vec::new() });
        self.unless_mute().await;
        Ok(Response::new(UnregisterBrokerResponse { outcome, revision }))
    }

    /// Takes what builds on the present state, and nothing else.
    async fn alter_partitions(
        &self,
        request: Request<AlterPartitionsRequest>,
    ) -> Result<Response<AlterPartitionsResponse>, Status> {
        self.check()?;
        let broker = NodeId(request.get_ref().broker_id);
        self.take_offline(broker, &request.get_ref().offline);
        let image = self.image();
        let mut changes = Vec::new();
        let mut codes = Vec::new();
        for proposal in &request.get_ref().proposals {
            let (topic_id, index) = proposed(proposal);
            let Some(partition) = image.partition(topic_id, index) else {
                codes.push(100);
                continue;
            };
            let eligible = |member: &alter_partitions_request::IsrMember| {
                let node = image.live_broker(NodeId(member.broker));
                node.is_some_and(|node| node.epoch.get() == member.broker_epoch)
            };
            let code = if proposal.leader_epoch != partition.leader_epoch.get() {
                74
            } else if proposal.partition_epoch != partition.epoch.get() {
                95
            } else if !proposal.isr.iter().all(eligible) {
                107
            } else {
                let isr: Vec<NodeId> = proposal.isr.iter().map(|member| NodeId(member.broker)).collect();
                let mut changed = Partition::clone(partition);
                changed.offline_replicas.retain(|node| !isr.contains(node));
                changed.isr = isr;
                changes.push(Change::PutPartition(topic_id, index, changed));
                0
            };
            codes.push(code);
        }
        let revision = self.commit(changes);
        let image = self.image();
        let results = request.get_ref().proposals.iter().zip(codes).map(|(proposal, code)| {
            let (topic_id, index) = proposed(proposal);
            alter_partitions_response::Result {
                topic_id: proposal.topic_id.clone(),
                partition: proposal.partition,
                outcome: Some(Outcome { code, message: None }),
                partition_state: image.partition(topic_id, index).map(|it| (&**it).into()),
            }
        });
        let results = results.collect();
        Ok(Response::new(AlterPartitionsResponse { results, revision }))
    }

    async fn allocate_producer_ids(
        &self,
        request: Request<AllocateProducerIdsRequest>,
    ) -> Result<Response<AllocateProducerIdsResponse>, Status> {
        self.check()?;
        let request = request.into_inner();
        assert_eq!(
            (request.broker_id, request.broker_epoch),
            (0, 1),
            "the broker says who it is"
        );
        let mut next = self.next_producer_id.lock();
        let first = *next;
        *next += i64::from(BLOCK);
        Ok(Response::new(AllocateProducerIdsResponse {
            outcome: ok(),
            first,
            count: BLOCK,
        }))
    }
}
