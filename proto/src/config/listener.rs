//! Listener lists: `NAME://host:port,...`.

use std::collections::BTreeMap;

use crate::config::ConfigError;
use crate::config::value::split_list;

/// One entry of `listeners` or `advertised.listeners`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerEntry {
    /// The listener's name, in upper case.
    pub name: String,
    /// The host, without brackets; empty = all interfaces.
    pub host: String,
    /// The port; 0 = any free one.
    pub port: u16,
}

const FORM: &str = "allowed is a list of NAME://host:port, each name and each port once";

/// Reads a listener list.
///
/// # Errors
/// When an entry has another form, or a name or (but for 0) an address appears twice.
pub fn parse_listeners(key: &str, text: &str) -> Result<Vec<ListenerEntry>, ConfigError> {
    let refused = || ConfigError::invalid(key, text, FORM);
    let mut entries: Vec<ListenerEntry> = Vec::new();
    for item in split_list(text) {
        let entry = parse_listener(&item).ok_or_else(refused)?;
        let doubled = |other: &ListenerEntry| {
            other.name == entry.name || (entry.port != 0 && other.port == entry.port && other.host == entry.host)
        };
        if entries.iter().any(doubled) {
            return Err(refused());
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn parse_listener(item: &str) -> Option<ListenerEntry> {
    let (name, address) = item.split_once("://")?;
    let (host, port) = split_address(address)?;
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    is_name.then(|| ListenerEntry {
        name: name.to_ascii_uppercase(),
        host,
        port,
    })
}

/// Host, without brackets, and port.
fn split_address(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let is_host = !host.contains(|c: char| c.is_whitespace() || c == '/');
    let port = port.parse().ok()?;
    is_host.then(|| (host.to_owned(), port))
}

/// Reads `host:port`; an IPv6 address stands in brackets, an empty host means all interfaces.
///
/// # Errors
/// When it has another form.
pub fn parse_address(key: &str, text: &str) -> Result<(String, u16), ConfigError> {
    split_address(text.trim()).ok_or_else(|| ConfigError::invalid(key, text, "allowed is host:port"))
}

/// Reads `listener.security.protocol.map`: listener name → security protocol, both in upper case.
///
/// # Errors
/// When an entry is not NAME:PROTOCOL.
pub fn parse_protocol_map(key: &str, text: &str) -> Result<BTreeMap<String, String>, ConfigError> {
    split_list(text)
        .into_iter()
        .map(|item| match item.split_once(':') {
            Some((name, protocol)) if !name.is_empty() && is_protocol(protocol) => {
                Ok((name.to_ascii_uppercase(), protocol.to_ascii_uppercase()))
            }
            _ => Err(ConfigError::invalid(
                key,
                text,
                "allowed is a list of NAME:PROTOCOL, with PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL as protocol",
            )),
        })
        .collect()
}

fn is_protocol(text: &str) -> bool {
    ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
        .iter()
        .any(|protocol| protocol.eq_ignore_ascii_case(text))
}
