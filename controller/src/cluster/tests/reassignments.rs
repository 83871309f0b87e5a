//! AlterPartitionReassignments and ElectLeaders (rule 107), and what design section 4 adds.

use super::*;

impl Cluster {
    fn reassign(&mut self, name: &str, index: i32, target: Option<&[i32]>) -> Result<(), Refusal> {
        let partitions = vec![PartitionReassignment {
            topic: name.into(),
            partition: PartitionIndex(index),
            target: target.map(nodes),
        }];
        let command = AlterPartitionReassignments {
            partitions,
            allow_replication_factor_change: true,
        };
        self.run(&command).remove(0).result
    }

    /// The leader of `a-0` takes this ISR.
    fn isr(&mut self, isr: &[i32]) {
        let key = self.key("a", 0);
        let proposal = self.proposal(key, &nodes(isr));
        self.alter(&proposal).unwrap();
    }

    fn elect(&mut self, election: ElectionType, partitions: Option<&[(&str, i32)]>) -> Vec<(i32, ErrorCode)> {
        let named = |named: &(&str, i32)| (named.0.to_owned(), PartitionIndex(named.1));
        let command = ElectLeaders {
            election,
            partitions: partitions.map(|partitions| partitions.iter().map(named).collect()),
            ends: self.all_log_ends(),
        };
        let code = |result: Result<(), Refusal>| result.map_or_else(|refusal| refusal.code, |()| ErrorCode::None);
        let results = self.run(&command).into_iter();
        results
            .map(|elected| (elected.partition.get(), code(elected.result)))
            .collect()
    }
}

fn assigned(replicas: &[i32]) -> CreatableTopic {
    CreatableTopic {
        partitions: -1,
        replication_factor: -1,
        assignments: vec![ManualAssignment {
            partition: PartitionIndex(0),
            brokers: nodes(replicas),
        }],
        ..topic("a", -1, -1)
    }
}

/// Brokers 1 to 5, `a-0` on these of them, min ISR 2.
fn on(replicas: &[i32]) -> Cluster {
    let mut cluster = Cluster::with_brokers(5);
    cluster.settings.min_insync_replicas = 2;
    cluster.create(assigned(replicas)).unwrap();
    cluster
}

/// What the shell does for reassignments that take the leader away: where the leaderships go.
fn hand_over(cluster: &mut Cluster) -> Vec<i32> {
    let moves = complete_reassignments::awaited(&MetadataImage::default(), &cluster.image, &cluster.settings);
    let partitions = moves.iter().map(|wanted| wanted.key).collect();
    assert_eq!(cluster.run(&CompleteReassignments { partitions }), moves.len());
    moves.iter().map(|wanted| wanted.target.get()).collect()
}

fn lists(cluster: &Cluster) -> [Vec<i32>; 4] {
    let partition = cluster.partition("a", 0);
    [
        &partition.replicas,
        &partition.adding,
        &partition.removing,
        &partition.isr,
    ]
    .map(|list| list.iter().map(|node| node.get()).collect())
}

fn leader(cluster: &Cluster) -> (Option<i32>, i32) {
    let partition = cluster.partition("a", 0);
    (partition.leader.map(NodeId::get), partition.leader_epoch.get())
}

#[test]
fn rule_107_it_is_done_when_all_targets_are_in_sync_and_one_put_does_it() {
    let mut cluster = on(&[1, 2, 3]);
    cluster.reassign("a", 0, Some(&[4, 2, 5])).unwrap();
    assert_eq!(
        lists(&cluster),
        [vec![4, 2, 5, 1, 3], vec![4, 5], vec![1, 3], vec![2, 1, 3]]
    );
    assert_eq!(leader(&cluster), (Some(1), 0));
    cluster.isr(&[1, 2, 3, 4]);
    assert_eq!(lists(&cluster)[2], [1, 3], "one target is missing");
    assert!(hand_over(&mut cluster).is_empty(), "one target is missing");
    cluster.isr(&[1, 2, 3, 4, 5]);
    assert_eq!(lists(&cluster)[2], [1, 3], "the leader hands over first");
    let before = cluster.image.revision.get();
    assert_eq!(hand_over(&mut cluster), [4]);
    assert_eq!(lists(&cluster), [vec![4, 2, 5], vec![], vec![], vec![4, 2, 5]]);
    assert_eq!(leader(&cluster), (Some(4), 1), "the leader leaves with the others");
    assert_eq!(cluster.image.revision.get(), before + 1, "one put");
}

#[test]
fn what_needs_no_copy_is_done_at_once() {
    let mut cluster = on(&[1, 2, 3]);
    cluster.reassign("a", 0, Some(&[3, 1, 2])).unwrap();
    assert_eq!(lists(&cluster), [vec![3, 1, 2], vec![], vec![], vec![3, 1, 2]]);
    assert_eq!(leader(&cluster), (Some(1), 0), "the order alone moves nobody");
    cluster.reassign("a", 0, Some(&[1, 2])).unwrap();
    assert_eq!(lists(&cluster), [vec![1, 2], vec![], vec![], vec![1, 2]]);
    cluster.reassign("a", 0, Some(&[2])).unwrap();
    assert_eq!(lists(&cluster)[2], [1], "but for the leader, who hands over first");
    assert_eq!(hand_over(&mut cluster), [2]);
    assert_eq!(
        (lists(&cluster)[0].as_slice(), leader(&cluster)),
        (&[2][..], (Some(2), 2)),
        "3 went, then 1"
    );
    let revision = cluster.image.revision;
    cluster.reassign("a", 0, Some(&[2])).unwrap();
    assert_eq!(cluster.image.revision, revision, "nothing to do, nothing written");
}

#[test]
fn a_target_that_is_not_in_sync_is_waited_for_even_if_nothing_is_copied() {
    let mut cluster = on(&[1, 2, 3]);
    cluster.fence(3);
    cluster.reassign("a", 0, Some(&[1, 3])).unwrap();
    assert_eq!(lists(&cluster), [vec![1, 3, 2], vec![], vec![2], vec![1, 2]]);
    cluster.start(3);
    assert_eq!(lists(&cluster)[2], [2]);
    cluster.isr(&[1, 2, 3]);
    assert_eq!(lists(&cluster), [vec![1, 3], vec![], vec![], vec![1, 3]]);
}

#[test]
fn rule_107_refusals() {
    let mut cluster = on(&[1, 2]);
    let invalid = ErrorCode::InvalidReplicaAssignment;
    refused(cluster.reassign("a", 0, None), ErrorCode::NoReassignmentInProgress, "");
    refused(cluster.reassign("a", 0, Some(&[])), invalid, "empty replica list");
    refused(cluster.reassign("a", 0, Some(&[1, 1])), invalid, "more than once");
    refused(
        cluster.reassign("a", 0, Some(&[1, 9])),
        invalid,
        "no such broker is registered",
    );
    let coordinator = cluster.start_coordinator().get();
    refused(
        cluster.reassign("a", 0, Some(&[1, coordinator])),
        invalid,
        "no such broker",
    );
    refused(
        cluster.reassign("b", 0, Some(&[1])),
        ErrorCode::UnknownTopicOrPartition,
        "topic named b",
    );
    refused(
        cluster.reassign("a", 1, Some(&[1])),
        ErrorCode::UnknownTopicOrPartition,
        "partition a:1",
    );
    let asked = PartitionReassignment {
        topic: "a".into(),
        partition: PartitionIndex(0),
        target: Some(nodes(&[3, 4, 5])),
    };
    let keep_size = AlterPartitionReassignments {
        partitions: vec![asked.clone()],
        allow_replication_factor_change: false,
    };
    refused(
        cluster.run(&keep_size).remove(0).result,
        ErrorCode::InvalidReplicationFactor,
        "from 2 to 3",
    );
    let twice = AlterPartitionReassignments {
        partitions: vec![asked.clone(), asked],
        allow_replication_factor_change: true,
    };
    for one in cluster.run(&twice) {
        refused(one.result, ErrorCode::InvalidRequest, "at most once");
    }
    // The size that counts is that of the target under way.
    cluster.reassign("a", 0, Some(&[1, 2, 3])).unwrap();
    cluster.run(&keep_size).remove(0).result.unwrap();
    assert_eq!(lists(&cluster)[1], [3, 4, 5]);
}

#[test]
fn a_cancel_goes_back_to_the_replicas_there_were() {
    let mut cluster = on(&[1, 2, 3]);
    cluster.reassign("a", 0, Some(&[4, 5, 1])).unwrap();
    cluster.isr(&[1, 2, 3, 4]);
    // The leader is one that the cancel takes away.
    cluster.fence(1);
    assert_eq!(leader(&cluster), (Some(4), 1));
    cluster.reassign("a", 0, None).unwrap();
    assert_eq!(lists(&cluster), [vec![1, 2, 3], vec![], vec![], vec![2, 3]]);
    assert_eq!(leader(&cluster), (Some(2), 2));
}

#[test]
fn a_replica_that_goes_raises_the_leader_epoch() {
    let mut cluster = on(&[1, 2, 3]);
    cluster.reassign("a", 0, Some(&[1, 2, 4])).unwrap();
    assert_eq!(leader(&cluster), (Some(1), 0), "nobody goes yet");
    cluster.reassign("a", 0, None).unwrap();
    assert_eq!(leader(&cluster), (Some(1), 1), "4 deletes what it has copied");
    // Who sees only the last of these images must not count what 4 had fetched before the cancel.
    cluster.reassign("a", 0, Some(&[1, 2, 4])).unwrap();
    cluster.reassign("a", 0, Some(&[1, 2, 5])).unwrap();
    assert_eq!(leader(&cluster), (Some(1), 2), "4 goes for another target");
    cluster.isr(&[1, 2, 3, 5]);
    assert_eq!(lists(&cluster), [vec![1, 2, 5], vec![], vec![], vec![1, 2, 5]]);
    assert_eq!(leader(&cluster), (Some(1), 3), "3 goes in the end");
    cluster.reassign("a", 0, Some(&[2, 1, 5])).unwrap();
    assert_eq!(leader(&cluster), (Some(1), 3), "another order takes nobody away");
}

#[test]
fn a_cancel_without_an_original_replica_in_sync_is_refused() {
    let mut cluster = on(&[1, 2]);
    cluster.reassign("a", 0, Some(&[3, 4, 5])).unwrap();
    cluster.isr(&[1, 2, 3, 4]);
    cluster.fence(1);
    cluster.fence(2);
    let before = cluster.partition("a", 0).clone();
    refused(
        cluster.reassign("a", 0, None),
        ErrorCode::InvalidReplicaAssignment,
        "unclean leader election",
    );
    assert_eq!(*cluster.partition("a", 0), before);
    // It goes on and finishes all the same.
    cluster.isr(&[3, 4, 5]);
    assert_eq!(lists(&cluster), [vec![3, 4, 5], vec![], vec![], vec![3, 4, 5]]);
}

#[test]
fn a_new_target_drops_what_the_old_one_was_adding_unless_the_isr_lives_on_it() {
    let mut cluster = on(&[1, 2]);
    cluster.reassign("a", 0, Some(&[3, 4])).unwrap();
    cluster.isr(&[1, 2, 3]);
    cluster.reassign("a", 0, Some(&[5, 1])).unwrap();
    assert_eq!(lists(&cluster), [vec![5, 1, 2], vec![5], vec![2], vec![1, 2]]);

    let mut cluster = on(&[1, 2]);
    cluster.reassign("a", 0, Some(&[3, 4])).unwrap();
    cluster.isr(&[1, 2, 3]);
    cluster.fence(1);
    cluster.fence(2);
    assert_eq!(lists(&cluster)[3], [3]);
    cluster.reassign("a", 0, Some(&[5, 1])).unwrap();
    assert_eq!(lists(&cluster), [vec![5, 1, 2, 3], vec![5], vec![2, 3], vec![3]]);
    assert_eq!(leader(&cluster).0, Some(3));
}

#[test]
fn replicas_on_their_way_do_not_raise_min_isr() {
    let mut cluster = on(&[1]);
    let min_isr = |cluster: &Cluster| {
        let topic = cluster.image.topic("a").unwrap();
        cluster
            .settings
            .min_isr(&cluster.image, topic, cluster.partition("a", 0))
    };
    cluster.reassign("a", 0, Some(&[2, 3])).unwrap();
    assert_eq!(min_isr(&cluster), 1, "its producers go on");
    cluster.isr(&[1, 2, 3]);
    hand_over(&mut cluster);
    assert_eq!(
        (lists(&cluster)[0].clone(), min_isr(&cluster)),
        (vec![2, 3], 2),
        "the replication factor is 2 now"
    );
}

#[test]
fn a_controller_that_stops_in_between_is_continued() {
    let mut cluster = on(&[1, 2]);
    cluster.reassign("a", 0, Some(&[3, 1])).unwrap();
    let key = cluster.key("a", 0);
    let proposal = cluster.proposal(key, &nodes(&[1, 2, 3]));
    cluster.growing.insert(key);
    // The ISR is committed, then another controller takes over and derives the rest.
    cluster.run_and_stop(&proposal, 1);
    assert_eq!(lists(&cluster), [vec![3, 1], vec![], vec![], vec![3, 1]]);
}

#[test]
fn rule_107_preferred_elections() {
    let mut cluster = on(&[1, 2, 3]);
    cluster.fence(1);
    let preferred = |cluster: &mut Cluster| cluster.elect(ElectionType::Preferred, Some(&[("a", 0)]));
    assert_eq!(
        preferred(&mut cluster),
        [(0, ErrorCode::PreferredLeaderNotAvailable)],
        "fenced"
    );
    cluster.start(1);
    assert_eq!(
        preferred(&mut cluster),
        [(0, ErrorCode::PreferredLeaderNotAvailable)],
        "not in sync"
    );
    cluster.isr(&[1, 2, 3]);
    assert_eq!(leader(&cluster), (Some(2), 1));
    assert_eq!(preferred(&mut cluster), [(0, ErrorCode::None)]);
    assert_eq!(leader(&cluster), (Some(1), 2));
    assert_eq!(preferred(&mut cluster), [(0, ErrorCode::ElectionNotNeeded)]);
    assert_eq!(
        cluster.elect(ElectionType::Preferred, None),
        [],
        "without a list, only what needs it"
    );
    let unknown = cluster.elect(ElectionType::Preferred, Some(&[("a", 1), ("b", 0)]));
    assert!(
        unknown
            .iter()
            .all(|(_, code)| *code == ErrorCode::UnknownTopicOrPartition)
    );
}

#[test]
fn rule_107_unclean_elections() {
    let mut cluster = on(&[1, 2, 3]);
    let unclean = |cluster: &mut Cluster| cluster.elect(ElectionType::Unclean, Some(&[("a", 0)]));
    assert_eq!(unclean(&mut cluster), [(0, ErrorCode::ElectionNotNeeded)]);
    // 3 is out of the ISR before the others go, so it holds less than them.
    for node in [3, 2, 1] {
        cluster.fence(node);
    }
    assert_eq!(unclean(&mut cluster), [(0, ErrorCode::EligibleLeadersNotAvailable)]);
    cluster.start(3);
    assert_eq!(
        leader(&cluster).0,
        None,
        "the topic does not allow unclean elections by themselves"
    );
    assert_eq!(cluster.elect(ElectionType::Unclean, None), [(0, ErrorCode::None)]);
    assert_eq!((leader(&cluster).0, &lists(&cluster)[3][..]), (Some(3), &[3][..]));
}

#[test]
fn a_broker_is_unregistered_when_nothing_is_lost_with_it() {
    let mut cluster = on(&[1, 2]);
    let unregister = |cluster: &mut Cluster, id| {
        cluster
            .run(&UnregisterNode {
                node: NodeId(id),
                epoch: None,
            })
            .map(|_| ())
    };
    refused(
        unregister(&mut cluster, 9),
        ErrorCode::BrokerIdNotRegistered,
        "not currently registered",
    );
    refused(unregister(&mut cluster, 1), ErrorCode::InvalidRequest, "is running");
    cluster.fence(2);
    let wrong = UnregisterNode {
        node: NodeId(2),
        epoch: Some(BrokerEpoch(1)),
    };
    refused(cluster.run(&wrong), ErrorCode::StaleBrokerEpoch, "");
    unregister(&mut cluster, 2).unwrap();
    assert!(cluster.image.node(NodeId(2)).is_none());
    assert_eq!(lists(&cluster)[0], [1, 2], "the replica is gone, its place is not");
    assert_eq!(
        (&lists(&cluster)[3][..], cluster.partition("a", 0).elr.len()),
        (&[1][..], 0)
    );
    // Whoever comes with this id has nothing, and is not elected.
    cluster.start(2);
    cluster.fence(1);
    assert_eq!(leader(&cluster).0, None);
    refused(
        unregister(&mut cluster, 1),
        ErrorCode::InvalidRequest,
        "the only replica of a-0",
    );
    // An empty broker may run.
    unregister(&mut cluster, 5).unwrap();
}

#[test]
fn what_a_node_is_wanted_for_outlives_its_restarts() {
    let mut cluster = on(&[1, 2]);
    let mut set = |ids: &[i32], change| {
        let command = SetNodeDuty {
            nodes: nodes(ids),
            change,
        };
        let result = cluster.run(&command);
        (result, cluster.image.node(NodeId(1)).unwrap().state)
    };
    refused(set(&[1, 9], DutyChange::Cordon).0, ErrorCode::BrokerIdNotRegistered, "");
    assert_eq!(set(&[], DutyChange::Cordon).1, NodeState::Active, "all or none");
    for (change, state) in [
        (DutyChange::Cordon, NodeState::Cordoned),
        (DutyChange::Uncordon, NodeState::Active),
        (DutyChange::Decommission { throttle: None }, NodeState::Draining),
        (DutyChange::Cordon, NodeState::Draining),
        (DutyChange::Uncordon, NodeState::Draining),
        (DutyChange::Recommission, NodeState::Active),
        (DutyChange::Decommission { throttle: None }, NodeState::Draining),
    ] {
        assert_eq!(set(&[1], change), (Ok(()), state), "{change:?}");
    }
    cluster.start(1);
    assert_eq!(cluster.image.node(NodeId(1)).unwrap().state, NodeState::Draining);
    let stored = MetadataImage::from_snapshot(&cluster.image.snapshot());
    assert_eq!(stored, cluster.image);
}

#[test]
fn another_replication_factor_picks_who_joins_and_who_leaves() {
    let mut cluster = on(&[1, 2]);
    let topic_id = cluster.image.topic("a").unwrap().id;
    let replicate = |cluster: &mut Cluster, replication_factor| {
        cluster.run(&OwnedTopic {
            topic_id,
            owner: None,
            task: AlterReplication { replication_factor },
        })
    };
    refused(
        replicate(&mut cluster, 0),
        ErrorCode::InvalidReplicationFactor,
        "larger than 0",
    );
    refused(
        replicate(&mut cluster, 6),
        ErrorCode::InvalidReplicationFactor,
        "only 5 broker(s)",
    );
    // 3 carries more than 4 and 5; 4 takes nothing.
    cluster
        .create(CreatableTopic {
            name: "b".into(),
            topic_id: TopicId(Uuid::from_u128(77)),
            ..assigned(&[3])
        })
        .unwrap();
    let nodes = nodes(&[4]);
    let change = DutyChange::Cordon;
    cluster.run(&SetNodeDuty { nodes, change }).unwrap();
    replicate(&mut cluster, 3).unwrap();
    assert_eq!(lists(&cluster), [vec![1, 2, 5], vec![5], vec![], vec![1, 2]]);
    // Another target before it is there.
    replicate(&mut cluster, 2).unwrap();
    assert_eq!(
        lists(&cluster),
        [vec![1, 2], vec![], vec![], vec![1, 2]],
        "who is not there yet leaves first"
    );
    cluster.fence(2);
    replicate(&mut cluster, 1).unwrap();
    assert_eq!(lists(&cluster), [vec![1], vec![], vec![], vec![1]]);
}
