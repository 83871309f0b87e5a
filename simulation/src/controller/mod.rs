//! Controllers: production decides and says whose session is over; what is here is the shell around it: a queue of
//! commands, transactions with a store that may fail, and streams of brokers.

mod sessions;
mod store;
mod work;

pub use store::{Outcome, Store};
pub use work::{Active, Job, Work, settings};

use highwater_proto::types::Revision;

use crate::network::Peer;
use crate::world::World;

/// A controller's process.
#[derive(Debug, Default)]
pub struct Controller {
    /// While it believes that it is the active one.
    pub active: Option<Active>,
}

impl World {
    /// Some controller that believes itself to be active: clients of a deposed one do not know better either.
    pub(crate) fn believed_controller(&mut self) -> Option<usize> {
        let active: Vec<usize> = (0..self.controllers.len())
            .filter(|index| self.controllers[*index].active.is_some())
            .collect();
        self.random.pick(&active)
    }

    /// The store gives the leadership to another controller, whether the last one knows that it lost it or not.
    pub(crate) fn elect(&mut self) {
        let next = self.random.below(self.controllers.len());
        if self.controllers[next].active.is_some() {
            return;
        }
        let created = self.store.campaign();
        let active = Active::load(&self.store, created, self.now);
        self.controllers[next].active = Some(active);
        self.trace.say(|| format!("c{next} is ELECTED at revision {created}"));
    }

    /// A controller that was deposed learns it: its sessions end.
    pub(crate) fn notice_loss(&mut self) -> bool {
        let mut noticed = false;
        for index in 0..self.controllers.len() {
            let deposed = |active: &Active| active.created() != self.store.leadership();
            if self.controllers[index].active.as_ref().is_some_and(deposed) && self.random.one_in(2) {
                self.resign(index);
                noticed = true;
            }
        }
        noticed
    }

    /// It decides nothing any more, and all its streams end.
    pub(crate) fn resign(&mut self, controller: usize) {
        self.controllers[controller].active = None;
        self.network.close_all(Peer::Controller(controller), &mut self.random);
        self.trace.say(|| format!("c{controller} resigns"));
    }

    /// True if the store's leader knows that it is one.
    pub(crate) fn has_active_controller(&self) -> bool {
        let leadership: Revision = self.store.leadership();
        self.controllers
            .iter()
            .any(|it| it.active.as_ref().is_some_and(|active| active.created() == leadership))
    }
}
