//! What can go wrong with a cluster, chosen at random and undone again.

use crate::cluster::{Cluster, Id, Kind, Plan, name};
use crate::disk::{SlowDisk, fill};
use crate::etcdctl;
use crate::process::Process;
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// What is left free on a disk that is made nearly full: less than the reserve of internal topics.
const LEFT: u64 = 4 << 20;
/// Longer than all that waits for a peer: sessions, leases and the times that a new active controller gives.
const LONG: Duration = Duration::from_secs(15);

/// What a process says that ends because a later one of its id has been taken instead.
pub const REPLACED: &str = "has taken its place";

/// One thing that goes wrong, and for how long.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What.
    pub what: What,
    /// How long it lasts.
    pub lasts: Duration,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum What {
    /// kill -9 of some processes at once.
    Kill(Vec<Id>),
    /// SIGSTOP: the process holds its connections and does nothing.
    Freeze(Id),
    /// SIGTERM, a clean stop.
    Stop(Id),
    /// Nothing that the first sends reaches the second; where the flag is set, nor the other way.
    Cut(Id, Id, bool),
    /// A process is cut off from all others and from clients.
    Isolate(Id),
    /// A disk with so many bytes of room.
    FullDisk(Id, u64),
    /// A disk that holds every write.
    StalledDisk(Id),
    /// A disk that holds writes most of the time.
    SlowDisk(Id),
    /// A broker is lost with its disk, and comes back with an empty one.
    EmptyDisk(Id),
    /// Brokers and etcd lose their power at the same moment, and with it what they have not flushed.
    PowerLoss,
    /// A second process with the id of a broker that runs; where the flag is set, in the same folder.
    Impostor(Id, bool),
    /// kill -9 of the member of etcd that leads.
    KillEtcdLeader,
    /// Another member of etcd leads.
    MoveEtcdLeader,
    /// etcd is out of its quota.
    EtcdQuota,
    /// All processes of a kind are stopped and started, one after the other.
    Roll(Kind),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |ids: &[Id]| ids.iter().map(|id| name(*id)).collect::<Vec<_>>().join(", ");
        match &self.what {
            What::Kill(ids) => write!(f, "kill -9 of {}", list(ids))?,
            What::Freeze(id) => write!(f, "{} frozen", name(*id))?,
            What::Stop(id) => write!(f, "{} stopped", name(*id))?,
            What::Cut(from, to, both) => {
                let how = if *both { "and" } else { "to" };
                write!(f, "{} {how} {} cut off", name(*from), name(*to))?;
            }
            What::Isolate(id) => write!(f, "{} isolated", name(*id))?,
            What::FullDisk(id, left) => write!(f, "disk of {} full but for {left} bytes", name(*id))?,
            What::StalledDisk(id) => write!(f, "disk of {} stalled", name(*id))?,
            What::SlowDisk(id) => write!(f, "disk of {} slow", name(*id))?,
            What::EmptyDisk(id) => write!(f, "disk of {} replaced", name(*id))?,
            What::PowerLoss => write!(f, "power loss")?,
            What::Impostor(id, same_folder) => {
                let place = if *same_folder { "in its folder" } else { "elsewhere" };
                write!(f, "second process of {} {place}", name(*id))?;
            }
            What::KillEtcdLeader => write!(f, "kill -9 of etcd's leader")?,
            What::MoveEtcdLeader => write!(f, "etcd's leader moved")?,
            What::EtcdQuota => write!(f, "etcd out of quota")?,
            What::Roll(kind) => write!(f, "rolling restart of each {}", format!("{kind:?}").to_lowercase())?,
        }
        write!(f, " for {} ms", self.lasts.as_millis())
    }
}

/// What a round of faults does: one fault, or two that overlap.
pub fn choose(plan: &Plan, rng: &mut StdRng) -> Vec<Fault> {
    let lone = match rng.random_range(0..100) {
        0..6 => Some(What::PowerLoss),
        6..13 => Some(What::EmptyDisk(one_of(plan, Kind::Broker, rng))),
        13..17 => Some(What::Impostor(one_of(plan, Kind::Broker, rng), rng.random_bool(0.5))),
        17..19 => Some(What::EtcdQuota),
        19..22 => Some(What::Roll(KINDS[rng.random_range(0..KINDS.len())])),
        _ => None,
    };
    let fault = |what, rng: &mut StdRng| Fault {
        what,
        lasts: Duration::from_millis(rng.random_range(100..8_000)),
    };
    if let Some(what) = lone {
        return vec![fault(what, rng)];
    }
    let count = if rng.random_bool(0.35) { 2 } else { 1 };
    let mut faults: Vec<Fault> = (0..count)
        .map(|_| {
            let what = overlapping(plan, rng);
            fault(what, rng)
        })
        .collect();
    // A silence after which everybody has been given up.
    if let [one] = &mut faults[..]
        && matches!(one.what, What::Freeze(_) | What::Isolate(_))
        && rng.random_bool(0.3)
    {
        one.lasts = LONG;
    }
    faults
}

/// Something that may happen while something else of its kind does.
fn overlapping(plan: &Plan, rng: &mut StdRng) -> What {
    let any = |rng: &mut StdRng| pick(&plan.ids(), rng);
    match rng.random_range(0..100) {
        0..22 => What::Kill(vec![any(rng)]),
        22..29 => What::Kill(several(plan, rng)),
        29..46 => What::Freeze(any(rng)),
        46..56 => What::Stop(pick(&plan.ids(), rng)),
        56..71 => loop {
            let (from, to) = (any(rng), any(rng));
            if from != to {
                break What::Cut(from, to, rng.random_bool(0.7));
            }
        },
        71..80 => What::Isolate(any(rng)),
        80..84 => What::FullDisk(one_of(plan, Kind::Broker, rng), LEFT),
        84..87 => What::FullDisk(one_of(plan, Kind::Broker, rng), 0),
        87..91 => What::StalledDisk(one_of(plan, Kind::Broker, rng)),
        91..95 => What::SlowDisk(one_of(plan, Kind::Broker, rng)),
        95..98 => What::KillEtcdLeader,
        _ => What::MoveEtcdLeader,
    }
}

const KINDS: [Kind; 4] = [Kind::Etcd, Kind::Controller, Kind::Broker, Kind::Coordinator];

/// All of a kind, or any of all.
fn several(plan: &Plan, rng: &mut StdRng) -> Vec<Id> {
    if rng.random_bool(0.5) {
        let kind = KINDS[rng.random_range(0..KINDS.len())];
        return plan.ids().into_iter().filter(|id| id.0 == kind).collect();
    }
    let mut some: Vec<Id> = plan.ids().into_iter().filter(|_| rng.random_bool(0.4)).collect();
    if some.is_empty() {
        some.push(pick(&plan.ids(), rng));
    }
    some
}

fn one_of(plan: &Plan, kind: Kind, rng: &mut StdRng) -> Id {
    let all: Vec<Id> = plan.ids().into_iter().filter(|id| id.0 == kind).collect();
    pick(&all, rng)
}

fn pick(ids: &[Id], rng: &mut StdRng) -> Id {
    ids[rng.random_range(0..ids.len())]
}

/// A fault that has been done and is to be undone.
pub enum Undo {
    /// Nothing: what is not running is started anyway.
    Start,
    /// The network is mended as a whole.
    Heal,
    /// The process goes on.
    Thaw(Id),
    /// The disk goes on.
    ThawDisk(Id),
    /// The disk is as fast as before.
    Quicken(SlowDisk),
    /// etcd has room again.
    EmptyEtcd,
    /// The file that fills the disk goes.
    Remove(PathBuf),
    /// The second process ends; where the flag is set, it did by itself.
    End(Id, Box<Process>, bool),
}

/// Does it.
///
/// # Panics
/// When this machine does not let us.
pub fn apply(cluster: &mut Cluster, what: &What) -> Undo {
    match what {
        What::Kill(ids) => {
            for id in ids {
                cluster.process(*id).kill9();
            }
            Undo::Start
        }
        What::Freeze(id) => {
            if cluster.process(*id).is_running() {
                cluster.process(*id).freeze();
            }
            Undo::Thaw(*id)
        }
        What::Stop(id) => {
            if cluster.process(*id).is_running() {
                cluster.process(*id).ask_to_stop();
            }
            Undo::Start
        }
        What::Cut(from, to, both) => {
            let (from, to) = (cluster.place(*from), cluster.place(*to));
            cluster.network().cut_one_way(from, to);
            if *both {
                cluster.network().cut_one_way(to, from);
            }
            Undo::Heal
        }
        What::Isolate(id) => {
            cluster.network().isolate(cluster.place(*id));
            Undo::Heal
        }
        What::FullDisk(id, left) => {
            let disk = cluster.disk(*id).expect("a plan with disks");
            Undo::Remove(fill(&disk.path(), *left).expect("a filler"))
        }
        What::StalledDisk(id) => {
            cluster.disk(*id).expect("a plan with disks").freeze();
            Undo::ThawDisk(*id)
        }
        What::SlowDisk(id) => Undo::Quicken(cluster.disk(*id).expect("a plan with disks").slow_down()),
        What::EmptyDisk(id) => {
            cluster.process(*id).kill9();
            std::fs::remove_dir_all(cluster.data_dir(*id)).expect("a folder of ours");
            Undo::Start
        }
        What::PowerLoss => {
            power_loss(cluster);
            Undo::Start
        }
        What::Impostor(id, same_folder) => {
            let mut process = cluster.impostor(id.1, *same_folder);
            process.start();
            Undo::End(*id, Box::new(process), *same_folder)
        }
        What::KillEtcdLeader => {
            if let Some(leader) = etcdctl::leader(cluster) {
                cluster.process(leader).kill9();
            }
            Undo::Start
        }
        What::MoveEtcdLeader => {
            etcdctl::move_leader(cluster);
            Undo::Start
        }
        What::EtcdQuota => {
            etcdctl::fill(cluster);
            Undo::EmptyEtcd
        }
        What::Roll(kind) => {
            roll(cluster, *kind);
            Undo::Start
        }
    }
}

fn roll(cluster: &mut Cluster, kind: Kind) {
    let ids = cluster.plan().ids().into_iter().filter(|id| id.0 == kind);
    for id in ids.collect::<Vec<_>>() {
        let status = cluster.process(id).terminate();
        assert!(
            status.success() || kind == Kind::Etcd,
            "{} ended with {status}",
            name(id)
        );
        cluster.process(id).start();
        cluster.wait_ready(id);
    }
}

fn power_loss(cluster: &mut Cluster) {
    // At one moment: none sees the others go.
    for id in cluster.plan().ids() {
        cluster.process(id).freeze();
    }
    for id in cluster.plan().ids() {
        cluster.process(id).kill9();
    }
    for id in cluster.plan().ids() {
        if let Some(disk) = cluster.disk(id) {
            disk.power_cut();
        }
    }
}

/// Ends it.
///
/// # Panics
/// When two processes of one id served at the same time.
pub fn undo(cluster: &mut Cluster, undo: Undo) {
    match undo {
        Undo::Start => {}
        Undo::Heal => cluster.network().heal(),
        Undo::Thaw(id) => cluster.process(id).thaw(),
        Undo::ThawDisk(id) => cluster.disk(id).expect("a plan with disks").thaw(),
        Undo::Remove(filler) => {
            // It is gone with the disk where that was replaced or lost its power meanwhile.
            let _ = std::fs::remove_file(filler);
        }
        Undo::Quicken(slow) => drop(slow),
        Undo::EmptyEtcd => etcdctl::empty(cluster),
        Undo::End(id, mut process, same_folder) => {
            let ended = !process.is_running();
            process.kill9();
            let (first, log) = (cluster.process(id), process.log());
            let served = log.contains("ready for clients");
            if same_folder {
                let refused = ended && log.contains("is in use by process") && !served;
                assert!(refused, "{} was not refused:\n{log}", process.name());
            }
            // While the controllers do not hear of the first process, the second may take its place: then that one ends
            // and says so. Both at a time never serve.
            let replaced = !first.is_running() && first.log_tail(5).contains(REPLACED);
            assert!(
                replaced || first.is_running(),
                "{} ended:\n{}",
                first.name(),
                first.log_tail(20)
            );
            assert!(
                replaced == served,
                "{} and {} both served",
                first.name(),
                process.name()
            );
        }
    }
}

/// A number for a seed, or the one that is asked for.
///
/// # Panics
/// When the variable is not a number.
pub fn seed(variable: &str) -> u64 {
    let seed = std::env::var(variable).map_or_else(|_| rand::rng().next_u64(), |v| v.parse().expect("a seed"));
    eprintln!("{variable}={seed}");
    seed
}
