//! What a seed stands for: how large the cluster is, what its topics promise, and how often what goes wrong.

use crate::random::Random;

/// Something that may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A message arrives.
    Deliver,
    /// A broker sees a newer image.
    Image,
    /// A flush begins, is carried out, or is noticed.
    Flush,
    /// A follower asks.
    Fetch,
    /// A producer sends.
    Produce,
    /// A consumer reads.
    Consume,
    /// A leader looks for followers that lag.
    LookForLag,
    /// A leader sends its proposal, perhaps once more.
    Propose,
    /// A controller goes one step further.
    Decide,
    /// A broker goes on with its session.
    Session,
    /// Time passes.
    Time,
    /// So much time that silence is noticed.
    Silence,
    /// kill -9.
    Kill,
    /// A machine loses its power.
    PowerLoss,
    /// All machines lose their power.
    Blackout,
    /// A broker is started.
    Start,
    /// A broker comes back with an empty disk.
    ReplaceDisk,
    /// SIGSTOP.
    Pause,
    /// SIGCONT.
    Resume,
    /// SIGTERM.
    Stop,
    /// Two peers are cut off from each other.
    Cut,
    /// A cut ends.
    Heal,
    /// A connection breaks.
    Break,
    /// Another controller is elected.
    Elect,
    /// A controller notices that it was deposed.
    NoticeLoss,
    /// A topic is deleted, or created again.
    Recreate,
    /// A partition's replicas shall be elsewhere.
    Reassign,
    /// A reassignment ends that took the leader away.
    CompleteReassignments,
    /// Another replica shall lead.
    MoveLeader,
    /// No controller reaches a broker any more.
    Isolate,
    /// Leadership moves away from a leader that hears nothing of it, and back.
    Seesaw,
    /// The shard's owner and its leader are cut off together.
    SplitBrain,
    /// Something at the shard.
    Shard,
    /// The shard's owner is lost, or another one comes.
    MoveShard,
    /// kill -9 of a coordinator.
    CrashCoordinator,
    /// A transaction that its controller had given up lands.
    LateTransaction,
}

/// A topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicPlan {
    /// Partitions.
    pub partitions: i32,
    /// Replication factor.
    pub replicas: i32,
    /// `min.insync.replicas`
    pub min_isr: usize,
    /// `write.caching`
    pub write_caching: bool,
    /// `unclean.leader.election.enable`
    pub unclean: bool,
}

/// What a seed stands for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Brokers.
    pub brokers: usize,
    /// Controllers.
    pub controllers: usize,
    /// Topics.
    pub topics: Vec<TopicPlan>,
    /// The topic of a coordinator shard.
    pub offsets: Option<TopicPlan>,
    /// Steps before everything heals.
    pub steps: usize,
    /// The schedule is about the shard, and little else.
    pub about_shard: bool,
    /// One in so many transactions of the store has no good end; 0: all have.
    pub store_trouble: usize,
    /// One in so many connections is slow; 0: none.
    pub slow_connections: u64,
    actions: Vec<(usize, Action)>,
    total: usize,
}

/// How often what must happen happens.
const WORK: [(usize, Action); 11] = [
    (300, Action::Deliver),
    (120, Action::Image),
    (200, Action::Flush),
    (120, Action::Fetch),
    (90, Action::Produce),
    (40, Action::Consume),
    (30, Action::LookForLag),
    (60, Action::Propose),
    (160, Action::Decide),
    (80, Action::Session),
    (60, Action::Time),
];

/// What may go wrong, with how often it does at most.
const FAULTS: [(usize, Action); 17] = [
    (6, Action::Silence),
    (6, Action::Kill),
    (6, Action::PowerLoss),
    (3, Action::Blackout),
    (4, Action::ReplaceDisk),
    (5, Action::Pause),
    (5, Action::Stop),
    (8, Action::Cut),
    (8, Action::Break),
    (3, Action::Elect),
    (3, Action::Recreate),
    (6, Action::Reassign),
    (4, Action::MoveLeader),
    (4, Action::Isolate),
    (8, Action::Seesaw),
    (60, Action::Time),
    (40, Action::LookForLag),
];

impl Plan {
    /// The plan of a seed. Each kind of fault is absent, rare or frequent by itself: what is found by much of one kind
    /// and nothing of another is found soon.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let brokers = [2, 3, 3, 3, 4, 5][random.below(6)];
        let topics = 1 + random.below(2);
        let mut topics: Vec<TopicPlan> = (0..topics).map(|_| topic(&mut random, brokers)).collect();
        let offsets = random.one_in(4).then(|| TopicPlan {
            partitions: 1,
            write_caching: false,
            unclean: false,
            ..topic(&mut random, brokers)
        });
        let mut actions = Vec::new();
        let mut total = 0;
        let mut add = |weight: usize, action| {
            if weight > 0 {
                total += weight;
                actions.push((total, action));
            }
        };
        // Some schedules are about the shard, and little else.
        let about_shard = offsets.is_some() && random.one_in(2);
        if about_shard {
            topics.truncate(1);
            topics[0].partitions = 1;
        }
        for (weight, action) in WORK {
            let weight = work(&mut random, about_shard, weight, action);
            add(weight, action);
        }
        // An owner whose partition is in trouble all the time serves nobody.
        let kinds = if about_shard { 10 } else { 4 };
        for (most, action) in FAULTS {
            let weight = match random.below(kinds) {
                2 => most.div_ceil(3),
                3 => most,
                _ => 0,
            };
            add(weight, action);
        }
        if offsets.is_some() {
            add(if about_shard { 1_500 } else { 300 }, Action::Shard);
            add(if about_shard { 30 } else { 3 }, Action::MoveShard);
            add(if about_shard { 3 } else { 1 }, Action::CrashCoordinator);
            add(if about_shard && random.one_in(2) { 8 } else { 0 }, Action::SplitBrain);
        }
        // What ends trouble is always there.
        for (weight, action) in [
            (30, Action::Start),
            (20, Action::Resume),
            (if about_shard { 8 } else { 20 }, Action::Heal),
            (20, Action::NoticeLoss),
            (10, Action::CompleteReassignments),
            (3, Action::LateTransaction),
        ] {
            add(weight, action);
        }
        let steps = if about_shard {
            3_000
        } else {
            [300, 800, 1_500][random.below(3)]
        };
        let store_trouble = [0, 0, 40, 8][random.below(4)];
        let slow_connections = [0, 0, 5, 2][random.below(4)];
        Self {
            seed,
            brokers,
            controllers: 2,
            topics,
            offsets,
            about_shard,
            steps,
            store_trouble,
            slow_connections,
            actions,
            total,
        }
    }

    /// What happens next.
    pub fn next(&self, random: &mut Random) -> Action {
        let at = random.below(self.total);
        let index = self.actions.partition_point(|(end, _)| *end <= at);
        self.actions.get(index).map_or(Action::Deliver, |(_, action)| *action)
    }
}

/// How often what must happen does in one schedule.
fn work(random: &mut Random, about_shard: bool, weight: usize, action: Action) -> usize {
    let weight = match action {
        Action::Decide if about_shard => weight * 6,
        Action::Image if about_shard => weight * 3,
        Action::Produce | Action::Consume if about_shard => weight / 9,
        // Much is judged otherwise while nothing comes in.
        Action::Produce if random.one_in(8) => weight / 8,
        _ => weight,
    };
    match random.below(4) {
        0 => weight / 3,
        1 => weight * 2,
        _ => weight,
    }
}

fn topic(random: &mut Random, brokers: usize) -> TopicPlan {
    let replicas = 1 + random.below(brokers.min(3));
    let replicas = replicas.max(1 + random.below(brokers.min(3)));
    TopicPlan {
        partitions: 1 + random.below(2) as i32,
        replicas: replicas as i32,
        min_isr: 1 + random.below(replicas.min(2)),
        write_caching: random.one_in(5),
        unclean: random.one_in(8),
    }
}
