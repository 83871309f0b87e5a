//! A process of a cluster: where its other processes are, and where they find it.

use highwater_proto::config::{ConfigError, ConfigReader, Profile, StaticValues, parse_address, split_list};

use crate::config::listeners::{is_wildcard, machine_name};
use crate::config::{IgnoredConfig, etcd};

const CONTROLLERS: &str = "controller.quorum.bootstrap.servers";
const GRPC: &str = "grpc.listener";
const ADVERTISED: &str = "grpc.advertised.listener";
const ETCD: &str = "etcd.endpoints";
const NAME: &str = "cluster.name";

/// Where the parts of the cluster are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// `cluster.name`: one path segment.
    pub name: String,
    /// `controller.quorum.bootstrap.servers`: hosts and ports.
    pub controllers: Vec<(String, u16)>,
    /// `etcd.endpoints`; empty = the embedded store.
    pub etcd_endpoints: Vec<String>,
    /// `grpc.listener` and `grpc.advertised.listener`
    pub grpc: GrpcConfig,
}

/// Where a process of a cluster listens for the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrpcConfig {
    /// Host and port to bind; `None` = all interfaces and the port that is usual for the process.
    pub listener: Option<(String, u16)>,
    /// Host and port that the others are told; `None` = the bound one.
    pub advertised: Option<(String, u16)>,
}

impl ClusterConfig {
    pub(super) fn read(read: &ConfigReader<'_>, fixed: &StaticValues) -> Result<Self, ConfigError> {
        if fixed.profile == Profile::Standalone {
            refuse_in_standalone(fixed)?;
        }
        let etcd = read.text(ETCD)?.unwrap_or_default();
        let etcd_endpoints = split_list(&etcd);
        if etcd_endpoints.iter().any(String::is_empty) {
            return Err(ConfigError::refused(ETCD, &etcd, "allowed is a list of host:port"));
        }
        Ok(Self {
            name: name(&read.text(NAME)?.unwrap_or_default())?,
            controllers: controllers(&read.text(CONTROLLERS)?.unwrap_or_default())?,
            etcd_endpoints,
            grpc: GrpcConfig::read(read)?,
        })
    }

    /// The controllers, for a process that cannot do without.
    ///
    /// # Errors
    /// When none is configured.
    pub fn required_controllers(&self) -> Result<Vec<(String, u16)>, ConfigError> {
        if self.controllers.is_empty() {
            let reason = "allowed is the host:port of each of the cluster's controllers, for example controller-0:9190";
            return Err(ConfigError::refused(CONTROLLERS, "", reason));
        }
        Ok(self.controllers.clone())
    }
}

impl GrpcConfig {
    fn read(read: &ConfigReader<'_>) -> Result<Self, ConfigError> {
        let address = |key: &str| {
            let text = read.text(key)?;
            text.map(|text| parse_address(key, &text).map(|address| (address, text)))
                .transpose()
        };
        let listener = address(GRPC)?.map(|(address, _)| address);
        let advertised = match address(ADVERTISED)? {
            Some(((host, port), text)) if is_wildcard(&host) || port == 0 => {
                let reason = format!("nobody can connect to {host}:{port}: allowed is the host:port that others dial");
                return Err(ConfigError::refused(ADVERTISED, &text, &reason));
            }
            advertised => advertised.map(|(address, _)| address),
        };
        Ok(Self { listener, advertised })
    }

    /// Address to bind, in the form that `bind` takes.
    #[must_use]
    pub fn bind_address(&self, usual_port: u16) -> String {
        match &self.listener {
            None => format!("0.0.0.0:{usual_port}"),
            Some((host, port)) if host.is_empty() => format!("0.0.0.0:{port}"),
            Some((host, port)) if host.contains(':') => format!("[{host}]:{port}"),
            Some((host, port)) => format!("{host}:{port}"),
        }
    }

    /// Host and port that the others dial, given the port that was bound.
    #[must_use]
    pub fn advertised(&self, bound_port: u16) -> (String, u16) {
        match (&self.advertised, &self.listener) {
            (Some(advertised), _) => advertised.clone(),
            (None, Some((host, _))) if !is_wildcard(host) => (host.clone(), bound_port),
            (None, _) => (machine_name(), bound_port),
        }
    }
}

/// `highwater` is a whole cluster: it has no other processes to find, and takes no metadata from elsewhere. The
/// controllers' addresses are left aside, for they stand in the `server.properties` that Apache Kafka ships.
fn refuse_in_standalone(fixed: &StaticValues) -> Result<(), ConfigError> {
    for key in [NAME, GRPC, ADVERTISED].into_iter().chain(etcd::KEYS) {
        if let Some(value) = fixed.values.get(key).filter(|value| !value.trim().is_empty()) {
            let reason = "highwater is a cluster in one process; this key is allowed for highwater-controller, \
                          highwater-broker and highwater-coordinator";
            return Err(ConfigError::refused(key, value, reason));
        }
    }
    Ok(())
}

/// The controllers' addresses, where they have no effect.
pub(super) fn ignored(fixed: &StaticValues) -> Option<IgnoredConfig> {
    let set = fixed
        .values
        .get(CONTROLLERS)
        .is_some_and(|value| !value.trim().is_empty());
    (fixed.profile == Profile::Standalone && set).then(|| IgnoredConfig {
        key: CONTROLLERS.to_owned(),
        reason: "this process is its own controller",
    })
}

fn name(text: &str) -> Result<String, ConfigError> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if text.bytes().all(is_name) && text.len() <= 128 && !matches!(text, "" | "." | "..") {
        return Ok(text.to_owned());
    }
    let reason = "allowed are up to 128 letters, digits, '.', '_' and '-'";
    Err(ConfigError::refused(NAME, text, reason))
}

fn controllers(text: &str) -> Result<Vec<(String, u16)>, ConfigError> {
    let refused = |_| ConfigError::refused(CONTROLLERS, text, "allowed is a list of host:port, none twice");
    let mut found = Vec::new();
    for item in split_list(text) {
        let address = parse_address(CONTROLLERS, &item).map_err(refused)?;
        if is_wildcard(&address.0) || address.1 == 0 || found.contains(&address) {
            return Err(refused(ConfigError::unknown_key(CONTROLLERS)));
        }
        found.push(address);
    }
    Ok(found)
}
