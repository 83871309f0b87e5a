//! What a cluster under test is made of: kinds of processes, and how many of each, with what configs.

/// What kind of process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A member of etcd.
    Etcd,
    /// A controller.
    Controller,
    /// A broker.
    Broker,
    /// A coordinator.
    Coordinator,
}

/// One process: its kind and number, from 0.
pub type Id = (Kind, usize);

/// What to start.
#[derive(Clone)]
pub struct Plan {
    /// How many controllers.
    pub controllers: usize,
    /// How many brokers; their ids are 1, 2, …
    pub brokers: usize,
    /// How many coordinators.
    pub coordinators: usize,
    /// How many members etcd has. Without one, the one controller has a store of its own.
    pub etcd: usize,
    /// `--quota-backend-bytes` of etcd in MiB, where it is not etcd's own.
    pub etcd_quota_mib: Option<u32>,
    /// Configs of all processes.
    pub settings: Vec<(String, String)>,
    /// Whether each process has an address of its own, so that cables between them can be cut.
    pub network: bool,
    /// Whether each broker and etcd have a disk of their own, of so many MiB.
    pub disk_mib: Option<u32>,
    /// Whether the devices of these disks can stall.
    pub devices_stall: bool,
}

impl Default for Plan {
    /// One etcd, three controllers, three brokers, two coordinators, on this machine's loopback.
    fn default() -> Self {
        Self {
            controllers: 3,
            brokers: 3,
            coordinators: 2,
            etcd: 1,
            etcd_quota_mib: None,
            settings: default_settings(),
            network: false,
            disk_mib: None,
            devices_stall: false,
        }
    }
}

/// No wait for further members, and what `HIGHWATER_E2E_SET` says: `key=value`s, separated by spaces.
fn default_settings() -> Vec<(String, String)> {
    let set = std::env::var("HIGHWATER_E2E_SET").unwrap_or_default();
    let set = set.split(' ').filter_map(|pair| pair.split_once('='));
    [("group.initial.rebalance.delay.ms", "0")]
        .into_iter()
        .chain(set)
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

impl Plan {
    /// With this config in all processes.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// All processes, in the order in which they need each other.
    pub fn ids(&self) -> Vec<Id> {
        let of = |kind, count| (0..count).map(move |i| (kind, i));
        of(Kind::Etcd, self.etcd)
            .chain(of(Kind::Controller, self.controllers))
            .chain(of(Kind::Broker, self.brokers))
            .chain(of(Kind::Coordinator, self.coordinators))
            .collect()
    }
}

/// What a process is called, in logs and messages: brokers by their id.
pub fn name((kind, number): Id) -> String {
    match kind {
        Kind::Etcd => format!("etcd-{number}"),
        Kind::Controller => format!("controller-{number}"),
        Kind::Broker => format!("broker-{}", number + 1),
        Kind::Coordinator => format!("coordinator-{number}"),
    }
}
