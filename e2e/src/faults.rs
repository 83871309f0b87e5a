//! What can go wrong with a cluster, chosen at random and undone again.

use crate::cluster::{Cluster, Id, Kind, Plan, name};
use crate::disk::fill;
use crate::process::Process;
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// What is left free on a disk that is made full.
const LEFT: u64 = 4 << 20;

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
    /// A disk without room.
    FullDisk(Id),
    /// A disk that holds every write.
    StalledDisk(Id),
    /// A broker is lost with its disk, and comes back with an empty one.
    EmptyDisk(Id),
    /// Brokers and etcd lose their power at the same moment, and with it what they have not flushed.
    PowerLoss,
    /// A second process with the id of a broker that runs.
    Impostor(Id),
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
            What::FullDisk(id) => write!(f, "disk of {} full", name(*id))?,
            What::StalledDisk(id) => write!(f, "disk of {} stalled", name(*id))?,
            What::EmptyDisk(id) => write!(f, "disk of {} replaced", name(*id))?,
            What::PowerLoss => write!(f, "power loss")?,
            What::Impostor(id) => write!(f, "second process of {}", name(*id))?,
        }
        write!(f, " for {} ms", self.lasts.as_millis())
    }
}

/// What a round of faults does: one fault, or two that overlap.
pub fn choose(plan: &Plan, rng: &mut StdRng) -> Vec<Fault> {
    let kind = rng.random_range(0..100);
    let lone = match kind {
        0..6 => Some(What::PowerLoss),
        6..14 => Some(What::EmptyDisk(one_of(plan, Kind::Broker, rng))),
        14..18 => Some(What::Impostor(one_of(plan, Kind::Broker, rng))),
        _ => None,
    };
    let lasts = |rng: &mut StdRng| Duration::from_millis(rng.random_range(100..8_000));
    let fault = |what, rng: &mut StdRng| Fault {
        what,
        lasts: lasts(rng),
    };
    if let Some(what) = lone {
        return vec![fault(what, rng)];
    }
    let count = if rng.random_bool(0.35) { 2 } else { 1 };
    (0..count)
        .map(|_| {
            let what = overlapping(plan, rng);
            fault(what, rng)
        })
        .collect()
}

/// Something that may happen while something else of its kind does.
fn overlapping(plan: &Plan, rng: &mut StdRng) -> What {
    let any = |rng: &mut StdRng| pick(&plan.ids(), rng);
    match rng.random_range(0..100) {
        0..25 => What::Kill(vec![any(rng)]),
        25..32 => What::Kill(several(plan, rng)),
        32..50 => What::Freeze(any(rng)),
        50..60 => What::Stop(pick(&plan.ids(), rng)),
        60..76 => loop {
            let (from, to) = (any(rng), any(rng));
            if from != to {
                break What::Cut(from, to, rng.random_bool(0.7));
            }
        },
        76..86 => What::Isolate(any(rng)),
        86..93 => What::FullDisk(one_of(plan, Kind::Broker, rng)),
        _ => What::StalledDisk(one_of(plan, Kind::Broker, rng)),
    }
}

/// All of a kind, or any of all.
fn several(plan: &Plan, rng: &mut StdRng) -> Vec<Id> {
    let kinds = [Kind::Controller, Kind::Broker, Kind::Coordinator];
    if rng.random_bool(0.5) {
        let kind = kinds[rng.random_range(0..kinds.len())];
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
    /// The file that fills the disk goes.
    Remove(PathBuf),
    /// The second process ends.
    End(Id, Box<Process>),
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
        What::FullDisk(id) => {
            let disk = cluster.disk(*id).expect("a plan with disks");
            Undo::Remove(fill(&disk.path(), LEFT).expect("a filler"))
        }
        What::StalledDisk(id) => {
            cluster.disk(*id).expect("a plan with disks").freeze();
            Undo::ThawDisk(*id)
        }
        What::EmptyDisk(id) => {
            cluster.process(*id).kill9();
            std::fs::remove_dir_all(cluster.data_dir(*id)).expect("a folder of ours");
            Undo::Start
        }
        What::PowerLoss => {
            power_loss(cluster);
            Undo::Start
        }
        What::Impostor(id) => {
            let mut process = cluster.impostor(id.1);
            process.start();
            Undo::End(*id, Box::new(process))
        }
    }
}

fn power_loss(cluster: &mut Cluster) {
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
        Undo::End(id, mut process) => {
            process.kill9();
            // While the controllers do not hear of the first process, the second may take its place: then that one ends
            // and says so. Both at a time never serve.
            let first = cluster.process(id);
            let replaced = !first.is_running() && first.log_tail(5).contains("has taken its place");
            assert!(
                replaced || first.is_running(),
                "{} ended:\n{}",
                first.name(),
                first.log_tail(20)
            );
            let served = process.log().contains("ready for clients");
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
