//! How a controller reaches etcd.

use std::path::PathBuf;
use std::time::Duration;

use highwater_proto::config::{ConfigError, ConfigReader};

use crate::config::ClusterConfig;

const ENDPOINTS: &str = "etcd.endpoints";
const LEASE_TTL: &str = "etcd.lease.ttl.ms";
const REQUEST_TIMEOUT: &str = "etcd.request.timeout.ms";
const USER: &str = "etcd.username";
const PASSWORD: &str = "etcd.password.file";
const CA: &str = "etcd.tls.ca.file";
const CERTIFICATE: &str = "etcd.tls.cert.file";
const KEY: &str = "etcd.tls.key.file";
/// All of them.
pub(super) const KEYS: [&str; 8] = [
    ENDPOINTS,
    LEASE_TTL,
    REQUEST_TIMEOUT,
    USER,
    PASSWORD,
    CA,
    CERTIFICATE,
    KEY,
];

/// How a controller reaches etcd, and where in it the cluster's metadata is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdConfig {
    /// `etcd.endpoints`, as URLs; at least one.
    pub endpoints: Vec<String>,
    /// `cluster.name`: keys are under `/highwater/<cluster>/`.
    pub cluster: String,
    /// `etcd.lease.ttl.ms`: how long the active controller stays the active one without a sign of life. etcd counts in
    /// seconds: it is rounded up.
    pub lease_ttl: Duration,
    /// `etcd.request.timeout.ms`: how long one request may take at one endpoint.
    pub request_timeout: Duration,
    /// `etcd.username` and `etcd.password.file`
    pub user: Option<EtcdUser>,
    /// `etcd.tls.…`; `None` = plain text.
    pub tls: Option<EtcdTls>,
}

/// The user as whom etcd knows the controllers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdUser {
    /// Its name.
    pub name: String,
    /// The file with its password; a line end is no part of that.
    pub password_file: PathBuf,
}

/// Files (PEM) for TLS with etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdTls {
    /// Certificates of those who may vouch for etcd.
    pub ca_file: PathBuf,
    /// Our certificate and its key, where etcd asks for one.
    pub identity: Option<EtcdIdentity>,
}

/// Files (PEM) with a certificate of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdIdentity {
    /// The certificate, with those between it and the authority.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

impl EtcdConfig {
    /// `None` where no endpoint is configured: the metadata is in the embedded store.
    pub(super) fn read(read: &ConfigReader<'_>, cluster: &ClusterConfig) -> Result<Option<Self>, ConfigError> {
        let text = |key: &str| Ok(read.text(key)?.filter(|value| !value.is_empty()));
        let user = match (text(USER)?, text(PASSWORD)?) {
            (None, None) => None,
            (Some(name), Some(file)) => Some(EtcdUser {
                name,
                password_file: file.into(),
            }),
            (Some(name), None) => return Err(ConfigError::refused(USER, &name, &format!("it needs {PASSWORD}"))),
            (None, Some(file)) => return Err(ConfigError::refused(PASSWORD, &file, &format!("it needs {USER}"))),
        };
        let identity = match (text(CERTIFICATE)?, text(KEY)?) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some(EtcdIdentity {
                cert_file: cert.into(),
                key_file: key.into(),
            }),
            (Some(cert), None) => return Err(ConfigError::refused(CERTIFICATE, &cert, &format!("it needs {KEY}"))),
            (None, Some(key)) => return Err(ConfigError::refused(KEY, &key, &format!("it needs {CERTIFICATE}"))),
        };
        let tls = match (text(CA)?, identity) {
            (Some(ca), identity) => Some(EtcdTls {
                ca_file: ca.into(),
                identity,
            }),
            (None, Some(identity)) => {
                let file = identity.cert_file.display().to_string();
                return Err(ConfigError::refused(CERTIFICATE, &file, &format!("it needs {CA}")));
            }
            (None, None) => None,
        };
        let lease_ttl = read.millis(LEASE_TTL)?;
        let request_timeout = read.millis(REQUEST_TIMEOUT)?;
        if cluster.etcd_endpoints.is_empty() {
            return Ok(None);
        }
        let endpoints = cluster.etcd_endpoints.iter().map(|text| url(text, tls.is_some()));
        Ok(Some(Self {
            endpoints: endpoints.collect::<Result<_, _>>()?,
            cluster: cluster.name.clone(),
            lease_ttl,
            request_timeout,
            user,
            tls,
        }))
    }
}

/// An endpoint as a URL, whose scheme goes with what is configured for TLS.
fn url(text: &str, tls: bool) -> Result<String, ConfigError> {
    match text.split_once("://") {
        None if tls => Ok(format!("https://{text}")),
        None => Ok(format!("http://{text}")),
        Some(("https", _)) if tls => Ok(text.to_owned()),
        Some(("http", _)) if !tls => Ok(text.to_owned()),
        Some(("https", _)) => Err(ConfigError::refused(ENDPOINTS, text, &format!("https needs {CA}"))),
        Some(("http", _)) => {
            let reason = format!("{CA} is set, so that http would send the password and the metadata in the clear");
            Err(ConfigError::refused(ENDPOINTS, text, &reason))
        }
        Some(_) => {
            let reason = "allowed are host:port, http://host:port and https://host:port";
            Err(ConfigError::refused(ENDPOINTS, text, reason))
        }
    }
}
