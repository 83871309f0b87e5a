//! AlterPartitions (rule 29), ELR and elections (rules 36 and 37).

use super::*;

/// Brokers 1 to 3, topic `a` with min ISR 2, led by the first replica with everybody in sync.
fn triple() -> (Cluster, TopicPartition, Vec<NodeId>) {
    let mut cluster = Cluster::with_brokers(3);
    cluster.settings.min_insync_replicas = 2;
    cluster.create(topic("a", 1, 3)).unwrap();
    let key = cluster.key("a", 0);
    let replicas = cluster.partition("a", 0).replicas.clone();
    (cluster, key, replicas)
}

#[test]
fn rule_29_the_order_of_the_checks() {
    let (mut cluster, key, replicas) = triple();
    // Everything is wrong at once; each correction uncovers the next error.
    cluster.register(4);
    let good = cluster.proposal(key, &replicas[..2]);
    let mut command = good.clone();
    command.broker_epoch = BrokerEpoch(1);
    command.broker = replicas[1];
    command.proposals[0].leader_epoch = LeaderEpoch(9);
    command.proposals[0].partition_epoch = PartitionEpoch(0);
    command.proposals[0].isr = vec![IsrMember {
        broker: NodeId(4),
        epoch: BrokerEpoch(0),
    }];
    refused(cluster.alter(&command), ErrorCode::StaleBrokerEpoch, "");
    command.broker_epoch = cluster.epoch(replicas[1].get());
    refused(cluster.alter(&command), ErrorCode::NotController, "ahead");
    command.proposals[0].leader_epoch = LeaderEpoch(-1);
    refused(cluster.alter(&command), ErrorCode::FencedLeaderEpoch, "");
    command.proposals[0].leader_epoch = good.proposals[0].leader_epoch;
    refused(cluster.alter(&command), ErrorCode::InvalidRequest, "does not lead");
    command.broker = good.broker;
    command.broker_epoch = good.broker_epoch;
    refused(cluster.alter(&command), ErrorCode::InvalidUpdateVersion, "");
    command.proposals[0].partition_epoch = good.proposals[0].partition_epoch;
    refused(cluster.alter(&command), ErrorCode::InvalidRequest, "replicas only");
    command.proposals[0].isr = good.proposals[0].isr[1..].to_vec();
    refused(cluster.alter(&command), ErrorCode::InvalidRequest, "the leader");
    command.proposals[0].isr = good.proposals[0].isr.clone();
    command.proposals[0].isr[1].epoch = BrokerEpoch(1);
    refused(cluster.alter(&command), ErrorCode::IneligibleReplica, "restarted");
    refused(cluster.alter(&good), ErrorCode::InvalidUpdateVersion, "");
    let good = cluster.proposal(key, &replicas[..2]);
    cluster.alter(&good).unwrap();
    assert_eq!(cluster.partition("a", 0).isr, replicas[..2]);
    // The state is another one now, and an equal ISR writes nothing.
    refused(cluster.alter(&good), ErrorCode::InvalidUpdateVersion, "");
    let same = cluster.proposal(key, &replicas[..2]);
    let revision = cluster.image.revision;
    cluster.alter(&same).unwrap();
    assert_eq!(cluster.image.revision, revision);
    let mut unknown = same.clone();
    unknown.proposals[0].key.partition = PartitionIndex(7);
    refused(cluster.alter(&unknown), ErrorCode::UnknownTopicOrPartition, "");
    unknown.proposals[0].key.topic_id = TopicId(Uuid::from_u128(3));
    refused(cluster.alter(&unknown), ErrorCode::UnknownTopicId, "");
}

#[test]
fn a_fenced_broker_does_not_join_the_isr() {
    let (mut cluster, key, replicas) = triple();
    cluster.fence(replicas[2].get());
    let proposal = cluster.proposal(key, &replicas);
    refused(cluster.alter(&proposal), ErrorCode::IneligibleReplica, "fenced");
    let epoch = cluster.image.node(replicas[2]).unwrap().epoch;
    let unfence = UnfenceNode {
        node: replicas[2],
        epoch,
        replicas: DistrustedReplicas::default(),
    };
    cluster.run(&unfence).unwrap();
    // The leader has gone on without it; a copy of the proposal that comes late must not let it in.
    refused(cluster.alter(&proposal), ErrorCode::InvalidUpdateVersion, "");
}

#[test]
fn rule_36_below_min_isr_the_ones_that_leave_stay_eligible() {
    let (mut cluster, key, replicas) = triple();
    let [first, second, third] = replicas[..] else { panic!() };
    cluster.fence(third.get());
    assert_eq!(cluster.partition("a", 0).elr, []);
    cluster.fence(second.get());
    assert_eq!(
        (&cluster.partition("a", 0).isr[..], &cluster.partition("a", 0).elr[..]),
        (&[first][..], &[second][..])
    );
    cluster.fence(first.get());
    let partition = cluster.partition("a", 0);
    assert_eq!(
        (partition.leader, &partition.isr[..], &partition.elr[..]),
        (None, &[first][..], &[second][..])
    );
    assert_eq!(partition.last_known_leader, Some(first));
    cluster.start(third.get());
    assert_eq!(
        cluster.partition("a", 0).leader,
        None,
        "it left at min ISR: what came later it lacks"
    );
    cluster.start(second.get());
    let partition = cluster.partition("a", 0);
    assert_eq!(
        (partition.leader, &partition.isr[..], &partition.elr[..]),
        (Some(second), &[second][..], &[first][..])
    );
    let proposal = cluster.proposal(key, &[second, third]);
    cluster.alter(&proposal).unwrap();
    assert_eq!(cluster.partition("a", 0).elr, [], "min ISR is there again");
}

#[test]
fn rule_37_the_last_member_stays() {
    let mut cluster = Cluster::with_brokers(2);
    cluster.create(topic("a", 1, 2)).unwrap();
    let replicas = cluster.partition("a", 0).replicas.clone();
    cluster.fence(replicas[1].get());
    cluster.fence(replicas[0].get());
    let partition = cluster.partition("a", 0);
    assert_eq!(
        (partition.leader, &partition.isr[..], &partition.elr[..]),
        (None, &replicas[..1], &[][..])
    );
    cluster.start(replicas[1].get());
    assert_eq!(cluster.partition("a", 0).leader, None);
    cluster.start(replicas[0].get());
    assert_eq!(cluster.partition("a", 0).leader, Some(replicas[0]));
}

#[test]
fn an_unclean_leader_is_the_one_with_the_longest_log() {
    let (mut cluster, key, replicas) = triple();
    cluster.settings.unclean_leader_election = true;
    let topic = cluster.image.topic_by_id(key.topic_id).unwrap();
    let mut partition = cluster.partition("a", 0).clone();
    partition.isr.clear();
    partition.leader = None;
    let ends = [(0, 4, 10), (1, 5, 7), (2, 5, 6)];
    let ends = ends
        .map(|(n, epoch, end)| (replicas[n as usize], (LeaderEpoch(epoch), Offset(end))))
        .into();
    let voters = election::Voters::new(&cluster.image, &cluster.settings, topic, &partition);
    let before = partition.clone();
    assert!(voters.elect(&mut partition, &ends));
    assert_eq!(partition.leader, Some(replicas[1]), "highest last epoch, then end");
    assert!(election::is_unclean(&before, &partition));
}

/// All three replicas distrusted, as after a power loss with write caching.
fn all_unclean(allow: bool) -> (Cluster, TopicPartition, Vec<NodeId>) {
    let (mut cluster, key, replicas) = triple();
    cluster.settings.unclean_leader_election = allow;
    for node in &replicas {
        cluster.fence(node.get());
    }
    assert_eq!(cluster.partition("a", 0).leader, None);
    (cluster, key, replicas)
}

fn come_back_unclean(cluster: &mut Cluster, key: TopicPartition, node: NodeId) {
    cluster.register(node.get());
    let replicas = DistrustedReplicas {
        untrusted: BTreeSet::from([key]),
        ..DistrustedReplicas::default()
    };
    cluster.unfence(node.get(), replicas);
}

#[test]
fn where_all_are_merely_unclean_only_the_last_known_leader_returns() {
    let (mut cluster, key, replicas) = all_unclean(false);
    let last = cluster.partition("a", 0).last_known_leader.unwrap();
    for node in replicas.iter().filter(|node| **node != last) {
        come_back_unclean(&mut cluster, key, *node);
        assert_eq!(cluster.partition("a", 0).leader, None);
    }
    cluster.elections.clear();
    come_back_unclean(&mut cluster, key, last);
    let after = cluster.partition("a", 0);
    assert_eq!((after.leader, after.isr.clone()), (Some(last), vec![last]));
    let (_, before, after) = cluster.elections.last().unwrap();
    assert!(election::is_unclean(before, after), "with a metric");
}

#[test]
fn where_unclean_leaders_are_allowed_the_longest_of_those_asked_leads() {
    let (mut cluster, key, replicas) = all_unclean(true);
    let voters_for = |cluster: &Cluster| elect_unclean::candidates(&cluster.image, &cluster.settings, &key);
    assert_eq!(voters_for(&cluster), [], "nobody is live");
    // Before anybody is asked nobody is elected, not even the last known leader.
    for node in &replicas {
        cluster.register(node.get());
    }
    cluster.log_ends.insert((replicas[0], key), (LeaderEpoch(3), Offset(9)));
    cluster.log_ends.insert((replicas[1], key), (LeaderEpoch(4), Offset(2)));
    cluster.log_ends.insert((replicas[2], key), (LeaderEpoch(4), Offset(5)));
    let epoch = |cluster: &Cluster, node: NodeId| cluster.epoch(node.get());
    let mut image = cluster.image.clone();
    for node in &replicas {
        let unfence = UnfenceNode {
            node: *node,
            epoch: epoch(&cluster, *node),
            replicas: DistrustedReplicas {
                untrusted: BTreeSet::from([key]),
                ..DistrustedReplicas::default()
            },
        };
        for step in decide(&image, &unfence, &cluster.settings).steps {
            let revision = Revision(image.revision.get() + 1);
            image = image.apply(&MetadataUpdate {
                revision,
                changes: step,
            });
        }
    }
    assert_eq!(image.partition(key.topic_id, key.partition).unwrap().leader, None);
    cluster.image = image;
    cluster.settle();
    assert_eq!(cluster.partition("a", 0).leader, Some(replicas[2]));
    assert_eq!(cluster.partition("a", 0).isr, replicas[2..]);
}

#[test]
fn an_unclean_election_waits_for_an_answer_and_leaves_clean_leaders_alone() {
    let (mut cluster, key, replicas) = triple();
    cluster.settings.unclean_leader_election = true;
    let ends = |node: NodeId| BTreeMap::from([(key, BTreeMap::from([(node, (LeaderEpoch(9), Offset(99)))]))]);
    let revision = cluster.image.revision;
    assert_eq!(
        cluster.run(&ElectUnclean {
            ends: ends(replicas[1])
        }),
        [],
        "it has a leader"
    );
    assert_eq!(cluster.image.revision, revision);
    for node in &replicas {
        cluster.fence(node.get());
    }
    cluster.register(replicas[2].get());
    assert_eq!(
        cluster.run(&ElectUnclean {
            ends: ends(replicas[2])
        }),
        [],
        "it is not live, whatever it answered"
    );
}

#[test]
fn planned_moves_go_to_members_of_the_isr_only_and_end_the_epoch_that_was_meant() {
    let (mut cluster, key, replicas) = triple();
    let [first, second, third] = replicas[..] else { panic!() };
    let proposal = cluster.proposal(key, &[first, second]);
    cluster.alter(&proposal).unwrap();
    let moved = |cluster: &mut Cluster, leader_epoch, target| {
        let wanted = LeaderMove {
            key,
            leader_epoch,
            target,
        };
        cluster.run(&MoveLeaders { moves: vec![wanted] }).remove(0)
    };
    let epoch = cluster.partition("a", 0).leader_epoch;
    refused(
        moved(&mut cluster, epoch, third),
        ErrorCode::EligibleLeadersNotAvailable,
        "not in sync",
    );
    let successors = move_leaders::successors(&cluster.image, &cluster.settings, first);
    assert_eq!(successors.iter().map(|it| it.target).collect::<Vec<_>>(), [second]);
    moved(&mut cluster, epoch, second).unwrap();
    let partition = cluster.partition("a", 0).clone();
    assert_eq!((partition.leader, partition.isr), (Some(second), vec![first, second]));
    assert_eq!(partition.leader_epoch.get(), epoch.get() + 1);
    refused(
        moved(&mut cluster, epoch, first),
        ErrorCode::FencedLeaderEpoch,
        "by now",
    );
    let epoch = cluster.partition("a", 0).leader_epoch;
    let revision = cluster.image.revision;
    moved(&mut cluster, epoch, second).unwrap();
    assert_eq!(cluster.image.revision, revision, "it leads already");
}

#[test]
fn a_damaged_replica_loses_its_seats_and_returns_once_it_is_copied_afresh() {
    let (mut cluster, key, replicas) = triple();
    let [first, second, third] = replicas[..] else { panic!() };
    let report = |cluster: &Cluster, node: NodeId| ReportOfflineReplicas {
        node,
        epoch: cluster.epoch(node.get()),
        replicas: BTreeSet::from([key]),
    };
    let epoch = cluster.partition("a", 0).leader_epoch;
    let command = report(&cluster, first);
    cluster.run(&command);
    let partition = cluster.partition("a", 0).clone();
    assert_eq!((partition.leader, partition.isr), (Some(second), vec![second, third]));
    assert!(partition.leader_epoch > epoch);
    assert_eq!((partition.offline_replicas, partition.elr), (vec![first], vec![]));

    let proposal = cluster.proposal(key, &replicas);
    cluster.alter(&proposal).unwrap();
    let partition = cluster.partition("a", 0).clone();
    assert_eq!((partition.isr, partition.offline_replicas), (replicas.clone(), vec![]));

    // The last member keeps its seat, but leads nothing.
    for node in [first, third] {
        let command = report(&cluster, node);
        cluster.run(&command);
    }
    let command = report(&cluster, second);
    cluster.run(&command);
    let partition = cluster.partition("a", 0).clone();
    assert_eq!((partition.leader, partition.isr.clone()), (None, vec![second]));
    let revision = cluster.image.revision;
    cluster.run(&command);
    assert_eq!(cluster.image.revision, revision, "said twice is said once");
    let stale = ReportOfflineReplicas {
        epoch: BrokerEpoch(1),
        ..report(&cluster, first)
    };
    cluster.run(&stale);
    assert_eq!(cluster.image.revision, revision);
}

#[test]
fn who_is_eligible_below_min_isr_is_not_once_min_isr_is_lowered() {
    let (mut cluster, key, replicas) = triple();
    let [first, second, third] = replicas[..] else { panic!() };
    cluster.fence(third.get());
    cluster.fence(second.get());
    assert_eq!(cluster.partition("a", 0).elr, [second]);
    let lower = Alteration {
        name: "min.insync.replicas".into(),
        value: Some("1".into()),
        operation: AlterOperation::Set,
    };
    let resource = ResourceAlteration {
        resource_type: ResourceType::Topic,
        name: "a".into(),
        alterations: vec![lower],
        replace: false,
    };
    cluster.run(&AlterConfigs {
        resources: vec![resource],
        validate_only: false,
    });
    // From here on the leader acknowledges alone.
    assert_eq!(cluster.partition("a", 0).elr, []);
    cluster.start(second.get());
    cluster.fence(first.get());
    assert_eq!(
        cluster.partition("a", 0).leader,
        None,
        "the other one lacks what was acknowledged since"
    );
    cluster.start(first.get());
    assert_eq!(cluster.partition("a", 0).leader, Some(first));
    let proposal = cluster.proposal(key, &[first, second]);
    cluster.alter(&proposal).unwrap();
}
