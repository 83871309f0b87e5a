//! The controllers that a node knows: those it was configured with, and those that others have named.

use highwater_proto::grpc::controller_client::ControllerClient;
use parking_lot::Mutex;
use tonic::Status;

use crate::transport::{Channel, Dialer, MAX_MESSAGE_BYTES};

/// Metadata of a refusal: host and port of the active controller.
const ACTIVE_CONTROLLER: &str = "highwater-active-controller";
/// Controllers that were named by others and are remembered.
const MOST_NAMED: usize = 8;

/// The refusal of a controller that does not decide: `active` (host:port) does.
#[must_use]
pub fn name_active_controller(active: &str) -> Status {
    let mut status = Status::unavailable(format!("the active controller is {active}"));
    if let Ok(active) = active.parse() {
        status.metadata_mut().insert(ACTIVE_CONTROLLER, active);
    }
    status
}

/// Host and port of the active controller, if a refusal names it.
#[must_use]
pub fn named_active_controller(refusal: &Status) -> Option<(String, u16)> {
    let named = refusal.metadata().get(ACTIVE_CONTROLLER)?.to_str().ok()?;
    let (host, port) = named.rsplit_once(':')?;
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    Some((host.to_owned(), port.parse().ok()?))
}

/// One channel per controller.
pub(super) struct Controllers {
    dialer: Dialer,
    known: Mutex<Known>,
}

struct Known {
    /// The configured ones first, then those that were named, the longest known first.
    controllers: Vec<Controller>,
    configured: usize,
    /// Which of them has the session.
    current: usize,
}

struct Controller {
    host: String,
    port: u16,
    channel: Channel,
}

impl Controllers {
    /// Asks the first one first.
    pub(super) fn new(configured: &[(String, u16)], dialer: Dialer) -> Self {
        let connect = |(host, port): &(String, u16)| Controller {
            host: host.clone(),
            port: *port,
            channel: dialer.channel(host, *port),
        };
        let controllers: Vec<_> = configured.iter().map(connect).collect();
        let known = Known {
            configured: controllers.len(),
            controllers,
            current: 0,
        };
        Self {
            dialer,
            known: Mutex::new(known),
        }
    }

    /// Which one the session is with, or is tried with.
    pub(super) fn current(&self) -> usize {
        self.known.lock().current
    }

    /// A client of one of them. Any number will do.
    pub(super) fn client(&self, which: usize) -> ControllerClient<Channel> {
        let known = self.known.lock();
        let controller = which
            .checked_rem(known.controllers.len())
            .and_then(|which| known.controllers.get(which));
        // Without any controller every call fails as if there were none at that address.
        let channel = controller.map_or_else(
            || self.dialer.channel("controller.invalid", 0),
            |controller| controller.channel.clone(),
        );
        ControllerClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Tries the session with the next one from now on.
    pub(super) fn try_next(&self) {
        let mut known = self.known.lock();
        known.current = (known.current + 1) % known.controllers.len().max(1);
    }

    /// Tries the session with the one that was named from now on.
    pub(super) fn follow(&self, host: &str, port: u16) {
        let mut known = self.known.lock();
        let same = |controller: &Controller| controller.host == host && controller.port == port;
        if let Some(position) = known.controllers.iter().position(same) {
            known.current = position;
            return;
        }
        if known.controllers.len() >= known.configured + MOST_NAMED {
            let oldest = known.configured;
            known.controllers.remove(oldest);
        }
        known.controllers.push(Controller {
            host: host.to_owned(),
            port,
            channel: self.dialer.channel(host, port),
        });
        known.current = known.controllers.len() - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_active_controller() {
        for (named, host) in [("a.example:9190", "a.example"), ("[::1]:9190", "::1")] {
            let named = named_active_controller(&name_active_controller(named));
            assert_eq!(named, Some((host.to_owned(), 9190)));
        }
        assert_eq!(
            named_active_controller(&Status::unavailable("no controller is active")),
            None
        );
        assert_eq!(named_active_controller(&name_active_controller("nonsense")), None);
    }

    #[tokio::test]
    async fn those_that_are_named_are_tried_and_forgotten_in_turn() {
        let configured = [("a".to_owned(), 1), ("b".to_owned(), 2)];
        let controllers = Controllers::new(&configured, Dialer::tcp());
        controllers.follow("b", 2);
        assert_eq!(controllers.current(), 1);
        controllers.follow("c", 3);
        assert_eq!(controllers.current(), 2);
        controllers.try_next();
        assert_eq!(controllers.current(), 0, "all of them in turn");
        for port in 0..100 {
            controllers.follow("d", port);
        }
        let known = controllers.known.lock();
        assert_eq!(known.controllers.len(), configured.len() + MOST_NAMED);
        assert_eq!((&*known.controllers[0].host, &*known.controllers[1].host), ("a", "b"));
        assert_eq!(known.controllers[known.current].port, 99);
    }
}
