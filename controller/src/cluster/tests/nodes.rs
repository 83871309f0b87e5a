//! Identity, incarnations, fencing and unfencing, coordinators and their shards.

use super::*;

fn only(key: TopicPartition) -> BTreeSet<TopicPartition> {
    BTreeSet::from([key])
}

#[test]
fn ids_are_given_and_kept() {
    let mut cluster = Cluster::with_brokers(1);
    let mut command = cluster.register_command(0, 77);
    command.node_id = None;
    command.cluster_id.clear();
    let registered = cluster.run(&command).unwrap();
    assert_eq!(registered.node, NodeId(2), "the next free one");
    let revision = cluster.image.revision;
    let again = cluster.run(&command).unwrap();
    assert_eq!(
        (again.node, again.epoch),
        (NodeId(2), Some(cluster.epoch(2))),
        "the answer may have been lost"
    );
    assert_eq!(cluster.image.revision, revision);
    // Another start from the same directory is the same node.
    command.registration.incarnation = Uuid::from_u128(u128::MAX);
    assert_eq!(cluster.run(&command).unwrap().node, NodeId(2));
}

#[test]
fn foreign_directories_and_clusters_are_refused() {
    let mut cluster = Cluster::with_brokers(2);
    let mut run = |change: &dyn Fn(&mut RegisterNode)| {
        let mut command = cluster.register_command(2, 1_002);
        change(&mut command);
        cluster.run(&command).unwrap_err().to_string()
    };
    let text = run(&|command| command.cluster_id = "other".into());
    assert_eq!(
        text,
        "the data directory belongs to cluster other, this is cluster cluster"
    );
    let text = run(&|command| command.registration.directory_id = Uuid::from_u128(1_001));
    assert!(text.contains("belongs to node 1, not to node 2"), "{text}");
    assert!(run(&|command| command.registration.directory_id = Uuid::nil()).contains("needs a directory id"));
    assert!(run(&|command| command.registration.role = NodeRole::Coordinator).contains("another role"));
    assert!(run(&|command| command.node_id = Some(NodeId(-3))).contains("negative"));
}

#[test]
fn a_restart_faster_than_the_fence_gets_new_leader_epochs_also_at_rf_1() {
    let mut cluster = Cluster::with_brokers(3);
    cluster.create(topic("single", 1, 1)).unwrap();
    cluster.create(topic("triple", 1, 3)).unwrap();
    let single = cluster.partition("single", 0).clone();
    let triple = cluster.partition("triple", 0).clone();
    let leader = single.leader.unwrap().get();
    cluster.start(leader);
    let after = cluster.partition("single", 0);
    assert_eq!((after.leader, after.isr.clone()), (single.leader, single.isr));
    assert!(after.leader_epoch > single.leader_epoch);
    if triple.leader.unwrap().get() == leader {
        assert!(cluster.partition("triple", 0).leader_epoch > triple.leader_epoch);
    }
    for id in 1..=3 {
        let before = cluster.partition("triple", 0).clone();
        cluster.register(id);
        let after = cluster.partition("triple", 0);
        assert!(
            !after.isr.contains(&NodeId(id)),
            "the new incarnation is not in the ISR"
        );
        assert_eq!(
            after.leader_epoch > before.leader_epoch,
            before.leader == Some(NodeId(id))
        );
        cluster.unfence(id, DistrustedReplicas::default());
        let key = cluster.key("triple", 0);
        let proposal = cluster.proposal(key, &nodes(&[1, 2, 3]));
        cluster.alter(&proposal).unwrap();
    }
}

#[test]
fn the_old_incarnation_is_fenced_completely_before_the_new_one_exists() {
    let mut cluster = Cluster::with_brokers(2);
    cluster.create(topic("wide", 600, 2)).unwrap();
    let old = cluster.epoch(1);
    let command = cluster.register_command(1, 1_001);
    let steps = decide(&cluster.image, &command, &cluster.settings).steps;
    let (registering, fencing) = steps.split_last().unwrap();
    assert!(matches!(
        registering[..],
        [Change::PutNodeRegistration(..), Change::PutNodeState(..)]
    ));
    assert_eq!(
        fencing[0],
        [Change::PutNodeState(NodeId(1), NodeState::Fencing)],
        "written first, alone"
    );
    let last = fencing.len();
    assert!(last > 4);
    // The controller stops in between: the next one finishes the fence, and the registration is the old one.
    cluster.run_and_stop(&command, 3);
    assert_eq!(cluster.epoch(1), old);
    assert_eq!(cluster.image.node(NodeId(1)).unwrap().state, NodeState::Fenced);
    assert!(
        cluster
            .image
            .topic("wide")
            .unwrap()
            .partitions
            .iter()
            .all(|p| p.isr == nodes(&[2]))
    );
    cluster.run(&command).unwrap();
    assert!(cluster.epoch(1) > old);
}

#[test]
fn another_directory_empties_the_replicas_even_the_last_member() {
    let mut cluster = Cluster::with_brokers(1);
    cluster.create(topic("a", 1, 1)).unwrap();
    let command = cluster.register_command(1, 5_555);
    cluster.run(&command).unwrap();
    cluster.unfence(1, DistrustedReplicas::default());
    let partition = cluster.partition("a", 0);
    assert_eq!(
        (partition.leader, partition.isr.len(), partition.elr.len()),
        (None, 0, 0),
        "never elected cleanly"
    );
    let allow = Alteration {
        name: "unclean.leader.election.enable".into(),
        value: Some("true".into()),
        operation: AlterOperation::Set,
    };
    let resource = ResourceAlteration {
        resource_type: ResourceType::Topic,
        name: "a".into(),
        alterations: vec![allow],
        replace: false,
    };
    cluster.run(&AlterConfigs {
        resources: vec![resource],
        validate_only: false,
    });
    assert_eq!(
        cluster.partition("a", 0).leader,
        Some(NodeId(1)),
        "the topic allows it now"
    );
}

fn untrusted(keys: impl IntoIterator<Item = TopicPartition>) -> DistrustedReplicas {
    DistrustedReplicas {
        untrusted: keys.into_iter().collect(),
        ..DistrustedReplicas::default()
    }
}

#[test]
fn an_untrusted_replica_leaves_isr_and_elr_and_the_others_stay() {
    let mut cluster = Cluster::with_brokers(3);
    cluster.settings.min_insync_replicas = 2;
    cluster.create(topic("cached", 1, 3)).unwrap();
    cluster.create(topic("synced", 1, 3)).unwrap();
    let replicas = cluster.partition("cached", 0).replicas.clone();
    // The last two leave below min ISR: the last member stays in the ISR, the one before in the ELR.
    for node in [replicas[2], replicas[1], replicas[0]] {
        cluster.fence(node.get());
    }
    let seats = |cluster: &Cluster, name: &str| {
        let partition = cluster.partition(name, 0);
        (partition.leader, partition.isr.clone(), partition.elr.clone())
    };
    assert_eq!(seats(&cluster, "cached"), (None, vec![replicas[0]], vec![replicas[1]]));
    let key = cluster.key("cached", 0);
    let synced = cluster.partition("synced", 0).clone();
    for node in [replicas[1], replicas[0]] {
        cluster.register(node.get());
        cluster.unfence(node.get(), untrusted([key]));
    }
    assert_eq!(
        seats(&cluster, "cached"),
        (Some(replicas[0]), vec![replicas[0]], vec![]),
        "all are merely unclean: the last known leader"
    );
    let after = cluster.partition("synced", 0);
    assert!(
        after.leader.is_some() && synced.isr.contains(&after.leader.unwrap())
            || synced.elr.contains(&after.leader.unwrap())
    );
    assert!(
        after.isr.len() + after.elr.len() >= 2,
        "not named, so trusted: {after:?}"
    );
}

#[test]
fn an_untrusted_replica_waits_for_a_trusted_one() {
    let mut cluster = Cluster::with_brokers(2);
    cluster.settings.min_insync_replicas = 2;
    cluster.create(topic("a", 1, 2)).unwrap();
    let replicas = cluster.partition("a", 0).replicas.clone();
    cluster.fence(replicas[1].get());
    cluster.fence(replicas[0].get());
    let key = cluster.key("a", 0);
    cluster.register(replicas[0].get());
    cluster.unfence(replicas[0].get(), untrusted([key]));
    assert_eq!(
        cluster.partition("a", 0).leader,
        None,
        "the other one holds all that was acknowledged"
    );
    cluster.start(replicas[1].get());
    assert_eq!(cluster.partition("a", 0).leader, Some(replicas[1]));
}

#[test]
fn an_untrusted_only_replica_leads_again_as_the_last_known_leader() {
    let mut cluster = Cluster::with_brokers(2);
    cluster.create(topic("single", 1, 1)).unwrap();
    cluster.create(topic("double", 1, 2)).unwrap();
    let leader = cluster.partition("single", 0).leader.unwrap();
    let other = NodeId(3 - leader.get());
    cluster.fence(other.get());
    let keys = [cluster.key("single", 0), cluster.key("double", 0)];
    cluster.register(leader.get());
    // Nobody is trusted: the last known leader, not the other replica that lacks what was acknowledged since.
    cluster.unfence(leader.get(), untrusted(keys));
    cluster.start(other.get());
    for name in ["single", "double"] {
        let partition = cluster.partition(name, 0);
        assert_eq!(
            (partition.leader, partition.isr.clone()),
            (Some(leader), vec![leader]),
            "{name}"
        );
    }
}

#[test]
fn short_and_missing_replicas_leave_the_isr_before_anything_is_elected() {
    let mut cluster = Cluster::with_brokers(1);
    cluster.create(topic("a", 3, 1)).unwrap();
    cluster.register(1);
    let (short, missing) = (cluster.key("a", 0), cluster.key("a", 1));
    let replicas = DistrustedReplicas {
        short: only(short),
        missing: only(missing),
        ..DistrustedReplicas::default()
    };
    let unfence = UnfenceNode {
        node: NodeId(1),
        epoch: cluster.epoch(1),
        replicas,
    };
    let steps = decide(&cluster.image, &unfence, &cluster.settings).steps;
    let active = Change::PutNodeState(NodeId(1), NodeState::Active);
    let position = steps.iter().position(|step| step.contains(&active)).unwrap();
    assert_eq!(position, 1, "first they leave, then the node lives");
    cluster.run_and_stop(&unfence, 1);
    cluster.run(&unfence).unwrap();
    let leaders: Vec<_> = (0..3).map(|index| cluster.partition("a", index).leader).collect();
    assert_eq!(leaders, [None, None, Some(NodeId(1))]);
}

#[test]
fn an_offline_replica_keeps_the_last_seat_but_does_not_lead() {
    let mut cluster = Cluster::with_brokers(1);
    cluster.create(topic("a", 1, 1)).unwrap();
    cluster.register(1);
    let offline = DistrustedReplicas {
        offline: only(cluster.key("a", 0)),
        ..DistrustedReplicas::default()
    };
    cluster.unfence(1, offline);
    let partition = cluster.partition("a", 0);
    assert_eq!((partition.leader, partition.isr.clone()), (None, nodes(&[1])));
    // The same process comes back after a silence, and names what recovery had found, which is less by now.
    cluster.fence(1);
    cluster.unfence(1, DistrustedReplicas::default());
    assert_eq!(cluster.partition("a", 0).leader, None, "it is still offline");
    cluster.start(1);
    assert_eq!(cluster.partition("a", 0).leader, Some(NodeId(1)), "the disk is back");
}

#[test]
fn a_registration_that_is_not_the_current_one_changes_nothing() {
    let mut cluster = Cluster::with_brokers(1);
    let (node, epoch) = (NodeId(1), cluster.epoch(1));
    cluster.register(1);
    let revision = cluster.image.revision;
    assert!(!cluster.run(&FenceNode { node, epoch }));
    let replicas = DistrustedReplicas::default();
    refused(
        cluster.run(&UnfenceNode { node, epoch, replicas }),
        ErrorCode::StaleBrokerEpoch,
        "not registered",
    );
    refused(
        cluster.run(&LeaveNode { node, epoch, now: true }),
        ErrorCode::StaleBrokerEpoch,
        "not registered",
    );
    refused(
        cluster.run(&AllocateProducerIds { node, epoch }),
        ErrorCode::StaleBrokerEpoch,
        "not registered",
    );
    assert_eq!(cluster.image.revision, revision);
}

#[test]
fn leaving_waits_while_another_replica_may_join_and_never_where_none_would_be_enough() {
    let mut cluster = Cluster::with_brokers(3);
    cluster.settings.min_insync_replicas = 2;
    cluster.create(topic("single", 3, 1)).unwrap();
    cluster.create(topic("triple", 3, 3)).unwrap();
    cluster.create(topic("double", 3, 2)).unwrap();
    cluster.fence(3);
    let (node, epoch) = (NodeId(1), cluster.epoch(1));
    let leaving = LeaveNode {
        node,
        epoch,
        now: false,
    };
    assert_eq!(
        cluster.run(&leaving),
        Ok(Leaving::Waiting(3)),
        "broker 3 may be on its way"
    );
    cluster.start(3);
    assert_eq!(
        cluster.run(&leaving),
        Ok(Leaving::Waiting(3)),
        "broker 3 can still join"
    );
    assert!(
        (0..3).all(|index| cluster.partition("triple", index).leader == Some(NodeId(2))),
        "leaders moved at once"
    );
    let stays = |index| cluster.partition("triple", index).isr.contains(&NodeId(1));
    assert!((0..3).all(stays), "it leaves its ISRs when it may leave them all");
    for index in 0..3 {
        let key = cluster.key("triple", index);
        let proposal = cluster.proposal(key, &nodes(&[1, 2, 3]));
        cluster.alter(&proposal).unwrap();
    }
    assert_eq!(cluster.run(&leaving), Ok(Leaving::Done));
    assert_eq!(cluster.image.node(node).unwrap().state, NodeState::Fenced);
    assert_eq!(cluster.partition("triple", 0).isr, nodes(&[2, 3]));
}

#[test]
fn shards_are_spread_with_minimal_movement() {
    let mut cluster = Cluster::with_brokers(1);
    let first = cluster.start_coordinator();
    assert!(first.get() >= 1_000_000);
    cluster.create(topic("__consumer_offsets", 10, 1)).unwrap();
    let owners = |cluster: &Cluster| -> Vec<_> { cluster.image.shards.values().map(|shard| shard.owner).collect() };
    assert_eq!(owners(&cluster), vec![Some(first); 10]);
    let before: Vec<_> = cluster.image.shards.values().copied().collect();
    let second = cluster.start_coordinator();
    assert_eq!(owners(&cluster), vec![Some(first); 10], "asked to release them first");
    let moves = shards::planned_moves(&cluster.image);
    assert!(
        moves
            .iter()
            .all(|planned| planned.from == first && planned.to == second)
    );
    assert_eq!(cluster.run(&MoveShards { moves: moves.clone() }), 5);
    let shards = cluster.image.shards.values().zip(&before);
    let moved: Vec<_> = shards.filter(|(now, before)| now != before).collect();
    assert_eq!(moved.len(), 5);
    assert!(
        moved
            .iter()
            .all(|(now, before)| now.owner == Some(second) && now.epoch.get() == before.epoch.get() + 1)
    );
    assert!(shards::planned_moves(&cluster.image).is_empty());
    assert_eq!(cluster.run(&MoveShards { moves }), 0, "these assignments have ended");
    cluster.fence(second.get());
    assert_eq!(owners(&cluster), vec![Some(first); 10]);
    cluster.fence(first.get());
    assert_eq!(owners(&cluster), vec![None; 10]);
    let epoch = cluster.epoch(second.get());
    assert!(cluster.run(&ForgetNode { node: second, epoch }));
    assert!(cluster.image.node(second).is_none());
    assert_eq!(
        cluster.start_coordinator(),
        second,
        "ids of forgotten coordinators are free"
    );
    assert_eq!(owners(&cluster), vec![Some(second); 10]);
    let target = TopicTarget {
        name: Some("__consumer_offsets".into()),
        ..TopicTarget::default()
    };
    cluster.run(&DeleteTopics { targets: vec![target] });
    assert!(cluster.image.shards.is_empty());
}

#[test]
fn a_coordinator_that_drains_is_emptied_and_one_that_is_cordoned_gets_nothing() {
    let mut cluster = Cluster::with_brokers(1);
    let (first, second) = (cluster.start_coordinator(), cluster.start_coordinator());
    cluster.create(topic("__consumer_offsets", 10, 1)).unwrap();
    let load = |cluster: &Cluster, node: NodeId| {
        let owned = cluster.image.shards.values().filter(|it| it.owner == Some(node));
        owned.count()
    };
    assert_eq!((load(&cluster, first), load(&cluster, second)), (5, 5));
    let duty = |cluster: &mut Cluster, node, duty| cluster.commit(vec![Change::PutNodeDuty(node, duty)]);
    duty(&mut cluster, first, NodeDuty::Draining);
    let moves = shards::planned_moves(&cluster.image);
    assert_eq!(cluster.run(&MoveShards { moves }), 5);
    assert_eq!((load(&cluster, first), load(&cluster, second)), (0, 10));
    duty(&mut cluster, second, NodeDuty::Draining);
    assert!(
        shards::planned_moves(&cluster.image).is_empty(),
        "nobody else takes them: better one that drains than none"
    );
    duty(&mut cluster, first, NodeDuty::Cordoned);
    assert!(shards::planned_moves(&cluster.image).is_empty());
    duty(&mut cluster, first, NodeDuty::Full);
    let moves = shards::planned_moves(&cluster.image);
    assert_eq!(moves.len(), 10);
    duty(&mut cluster, first, NodeDuty::Cordoned);
    let epoch = cluster.image.shards.values().next().unwrap().epoch;
    assert_eq!(cluster.run(&MoveShards { moves }), 0, "it takes no more meanwhile");
    assert_eq!(load(&cluster, second), 10);
    let anew = cluster.image.shards.values().next().unwrap().epoch;
    assert_eq!(
        anew.get(),
        epoch.get() + 1,
        "its owner has released it and gets it anew"
    );
}

#[test]
fn rule_58_producer_ids_come_in_blocks_that_nobody_else_gets() {
    let mut cluster = Cluster::with_brokers(2);
    let mut allocate = |id: i32| {
        let epoch = cluster.epoch(id);
        cluster
            .run(&AllocateProducerIds {
                node: NodeId(id),
                epoch,
            })
            .unwrap()
    };
    let blocks = [allocate(1), allocate(2), allocate(1)].map(|block| (block.first.get(), block.count));
    assert_eq!(blocks, [(0, 1000), (1000, 1000), (2000, 1000)]);
}
