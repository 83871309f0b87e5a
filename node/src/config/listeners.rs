//! Listeners: where clients connect, and what they are told to connect to.

use highwater_proto::config::{
    ConfigError, ConfigReader, ListenerEntry, parse_listeners, parse_protocol_map, split_list,
};

/// One listener for Kafka clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Name, in upper case.
    pub name: String,
    /// Host to bind; empty = all interfaces.
    pub host: String,
    /// Port to bind; 0 = any free one.
    pub port: u16,
    /// Host that clients are told.
    pub advertised_host: String,
    /// Port that clients are told; `None` = the bound one.
    pub advertised_port: Option<u16>,
}

/// All listeners for Kafka clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listeners {
    /// In the order of `listeners`; at least one.
    pub all: Vec<ListenerConfig>,
    /// Name of the one on which brokers copy from each other.
    pub inter_broker: String,
}

impl ListenerConfig {
    /// Address to bind, in the form that `bind` takes.
    #[must_use]
    pub fn bind_address(&self) -> String {
        match self.host.as_str() {
            "" => format!("0.0.0.0:{}", self.port),
            host if host.contains(':') => format!("[{host}]:{}", self.port),
            host => format!("{host}:{}", self.port),
        }
    }
}

impl Listeners {
    pub(super) fn read(read: &ConfigReader<'_>) -> Result<Self, ConfigError> {
        let text = read.text("listeners")?.unwrap_or_default();
        let controllers: Vec<String> = split_list(&read.text("controller.listener.names")?.unwrap_or_default())
            .into_iter()
            .map(|name| name.to_ascii_uppercase())
            .collect();
        let of_clients = |entry: &ListenerEntry| !controllers.contains(&entry.name);
        let entries: Vec<_> = parse_listeners("listeners", &text)?
            .into_iter()
            .filter(of_clients)
            .collect();
        if entries.is_empty() {
            return Err(ConfigError::refused(
                "listeners",
                &text,
                "allowed is at least one listener for clients",
            ));
        }
        check_protocols(read, &entries)?;
        let advertised = advertised(read, &entries, of_clients)?;
        let inter_broker = match read
            .text("inter.broker.listener.name")?
            .map(|name| name.to_ascii_uppercase())
        {
            Some(name) if entries.iter().any(|entry| entry.name == name) => name,
            Some(name) => {
                let reason = format!("allowed is the name of one of the listeners ({text})");
                return Err(ConfigError::refused("inter.broker.listener.name", &name, &reason));
            }
            None => entries.first().map(|entry| entry.name.clone()).unwrap_or_default(),
        };
        let all = entries.into_iter().map(|entry| listener(entry, &advertised)).collect();
        Ok(Self { all, inter_broker })
    }
}

/// The listeners of `advertised.listeners`, each of which has to be one of `listeners`.
fn advertised(
    read: &ConfigReader<'_>,
    entries: &[ListenerEntry],
    of_clients: impl Fn(&ListenerEntry) -> bool,
) -> Result<Vec<ListenerEntry>, ConfigError> {
    let key = "advertised.listeners";
    let Some(text) = read.text(key)? else {
        return Ok(Vec::new());
    };
    // Several listeners may well be advertised at one address, behind one balancer.
    let mut advertised = Vec::new();
    for item in split_list(&text) {
        advertised.extend(parse_listeners(key, &item)?.into_iter().filter(&of_clients));
    }
    for entry in &advertised {
        if !entries.iter().any(|known| known.name == entry.name) {
            let reason = format!("{} is not one of the listeners", entry.name);
            return Err(ConfigError::refused(key, &text, &reason));
        }
        if is_wildcard(&entry.host) && !entry.host.is_empty() {
            return Err(ConfigError::refused(
                key,
                &text,
                "nobody can connect to an address that means all interfaces",
            ));
        }
    }
    Ok(advertised)
}

fn check_protocols(read: &ConfigReader<'_>, entries: &[ListenerEntry]) -> Result<(), ConfigError> {
    let key = "listener.security.protocol.map";
    let text = read.text(key)?.unwrap_or_default();
    let map = parse_protocol_map(key, &text)?;
    for entry in entries {
        match map.get(&entry.name).map(String::as_str) {
            Some("PLAINTEXT") => {}
            Some(_) => {
                let reason = format!(
                    "listener {} may only speak PLAINTEXT: TLS and SASL are not supported yet",
                    entry.name
                );
                return Err(ConfigError::refused(key, &text, &reason));
            }
            None => {
                let reason = format!("listener {} is missing", entry.name);
                return Err(ConfigError::refused(key, &text, &reason));
            }
        }
    }
    Ok(())
}

fn listener(entry: ListenerEntry, advertised: &[ListenerEntry]) -> ListenerConfig {
    let told = advertised.iter().find(|candidate| candidate.name == entry.name);
    let told_host = told.map_or(entry.host.as_str(), |told| told.host.as_str());
    let told_port = told.map_or(entry.port, |told| told.port);
    ListenerConfig {
        advertised_host: if is_wildcard(told_host) {
            machine_name()
        } else {
            told_host.to_owned()
        },
        advertised_port: (told_port != 0).then_some(told_port),
        name: entry.name,
        host: entry.host,
        port: entry.port,
    }
}

pub(super) fn is_wildcard(host: &str) -> bool {
    matches!(host, "" | "0.0.0.0" | "::")
}

/// What other machines call this one, as Kafka does where no address is configured.
pub(super) fn machine_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
