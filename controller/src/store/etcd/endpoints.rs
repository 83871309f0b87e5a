//! etcd's endpoints. All requests go to one of them until it fails, then to the next: so a member that is stopped or
//! cut off costs one timeout, not one of every few requests.

use std::future::Future;
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};
use highwater_node::config::EtcdConfig;
use parking_lot::Mutex;

use crate::store::StoreError;
use crate::store::etcd::failure::Failure;

/// How often HTTP/2 asks whether the other end is there. etcd closes connections of clients that ask more than once in
/// 5 s; watches and the lease have checks of their own, which are quicker.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Endpoints {
    urls: Vec<String>,
    options: ConnectOptions,
    /// How long a request may take at one endpoint.
    timeout: Duration,
    current: Mutex<Current>,
}

struct Current {
    /// Counts the changes of endpoint: what goes wrong with an earlier one says nothing about this one.
    turn: usize,
    client: Option<Client>,
    /// The last request failed: the next one that does is not worth a line in the log.
    failing: bool,
}

/// A connection to one endpoint.
pub(super) struct Member {
    pub(super) client: Client,
    turn: usize,
}

impl Endpoints {
    /// Reads the files of the configuration; nothing is connected yet. `first` says which endpoint comes first.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if a file cannot be read.
    pub(super) fn new(config: &EtcdConfig, first: usize) -> Result<Self, StoreError> {
        let read = |path: &std::path::Path| {
            let refused = |error| StoreError::Refused(format!("{}: {error}", path.display()));
            std::fs::read_to_string(path).map_err(refused)
        };
        let mut options = ConnectOptions::new()
            .with_connect_timeout(config.request_timeout)
            .with_keep_alive(KEEP_ALIVE, KEEP_ALIVE_TIMEOUT)
            .with_keep_alive_while_idle(false)
            .with_tcp_keepalive(KEEP_ALIVE)
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if let Some(user) = &config.user {
            let password = read(&user.password_file)?;
            options = options.with_user(&user.name, password.trim_end_matches(['\r', '\n']));
        }
        if let Some(tls) = &config.tls {
            let mut with = TlsOptions::new().ca_certificate(Certificate::from_pem(read(&tls.ca_file)?));
            if let Some(identity) = &tls.identity {
                with = with.identity(Identity::from_pem(
                    read(&identity.cert_file)?,
                    read(&identity.key_file)?,
                ));
            }
            options = options.with_tls(with);
        }
        let current = Current {
            turn: first,
            client: None,
            failing: false,
        };
        Ok(Self {
            urls: config.endpoints.clone(),
            options,
            timeout: config.request_timeout,
            current: Mutex::new(current),
        })
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The number of the first endpoint, and one more for each time that one was given up.
    #[cfg(test)]
    pub(super) fn turn(&self) -> usize {
        self.current.lock().turn
    }

    fn url(&self, turn: usize) -> &str {
        &self.urls[turn % self.urls.len()]
    }

    /// The connection of the current endpoint.
    pub(super) async fn member(&self) -> Result<Member, Failure> {
        let turn = {
            let current = self.current.lock();
            if let Some(client) = &current.client {
                return Ok(Member {
                    client: client.clone(),
                    turn: current.turn,
                });
            }
            current.turn
        };
        // This sends nothing, unless there is a user to be authenticated.
        let connecting = Client::connect([self.url(turn)], Some(self.options.clone()));
        let client = match tokio::time::timeout(self.timeout, connecting).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => {
                let failure = match Failure::from(error) {
                    // Only the user was asked about, and nothing else sent.
                    Failure::InDoubt(reason) => Failure::NotDone(reason),
                    other => other,
                };
                self.gave(turn, &failure);
                return Err(failure);
            }
            Err(_) => {
                let failure = Failure::NotDone(Failure::silence(self.timeout).to_string());
                self.gave(turn, &failure);
                return Err(failure);
            }
        };
        let mut current = self.current.lock();
        if current.turn == turn {
            current.client.get_or_insert_with(|| client.clone());
        }
        drop(current);
        Ok(Member { client, turn })
    }

    /// An endpoint gave this in place of an answer. If that is its own fault, the next one is asked from now on.
    pub(super) fn blame(&self, member: &Member, failure: &Failure) {
        self.gave(member.turn, failure);
    }

    fn gave(&self, turn: usize, failure: &Failure) {
        if !failure.is_of_the_endpoint() {
            return;
        }
        let mut current = self.current.lock();
        if current.turn != turn {
            return;
        }
        current.turn = turn.wrapping_add(1);
        current.client = None;
        let first = !std::mem::replace(&mut current.failing, true);
        drop(current);
        if first {
            tracing::warn!(endpoint = self.url(turn), reason = %failure, "etcd does not answer");
        }
    }

    fn answered(&self) {
        let mut current = self.current.lock();
        if std::mem::take(&mut current.failing) {
            let turn = current.turn;
            drop(current);
            tracing::info!(endpoint = self.url(turn), "etcd answers again");
        }
    }

    /// One request to one endpoint.
    pub(super) async fn once<T, R>(&self, within: Duration, request: impl FnOnce(Client) -> R) -> Result<T, Failure>
    where
        R: Future<Output = Result<T, etcd_client::Error>>,
    {
        let member = self.member().await?;
        let answer = tokio::time::timeout(within, request(member.client.clone())).await;
        let failure = match answer {
            Ok(Ok(answer)) => {
                self.answered();
                return Ok(answer);
            }
            Ok(Err(error)) => Failure::from(error),
            Err(_) => Failure::silence(within),
        };
        self.blame(&member, &failure);
        Err(failure)
    }

    /// A request that did not reach its endpoint goes to the others too, each once. One that may have happened is not
    /// repeated.
    pub(super) async fn at_most_once<T, R>(&self, request: impl Fn(Client) -> R) -> Result<T, Failure>
    where
        R: Future<Output = Result<T, etcd_client::Error>>,
    {
        self.several(|failure| matches!(failure, Failure::NotDone(_)), request)
            .await
    }

    /// A request that does no harm when it happens twice goes to all endpoints until one answers.
    pub(super) async fn repeat<T, R>(&self, request: impl Fn(Client) -> R) -> Result<T, Failure>
    where
        R: Future<Output = Result<T, etcd_client::Error>>,
    {
        self.several(Failure::is_of_the_endpoint, request).await
    }

    async fn several<T, R>(&self, again: impl Fn(&Failure) -> bool, request: impl Fn(Client) -> R) -> Result<T, Failure>
    where
        R: Future<Output = Result<T, etcd_client::Error>>,
    {
        // With a single endpoint too: a connection that broke unnoticed is opened again.
        let attempts = self.urls.len().max(2);
        let mut outcome = self.once(self.timeout, &request).await;
        for _ in 1..attempts {
            match &outcome {
                Err(failure) if again(failure) => outcome = self.once(self.timeout, &request).await,
                _ => break,
            }
        }
        outcome
    }
}
