//! Registrations under way. Two processes that claim to be the same node must see each other; all others register side by
//! side, as a decision may wait long for those before it.

use highwater_proto::metadata::NodeRole;
use highwater_proto::types::NodeId;
use parking_lot::Mutex;
use uuid::Uuid;

/// Who registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The process start.
    pub(crate) incarnation: Uuid,
    /// What it is to be: each role has free ids of its own.
    pub(crate) role: NodeRole,
    /// Its directory; nil without one.
    pub(crate) directory: Uuid,
    /// The id that it names, or that its directory had.
    pub(crate) node: Option<NodeId>,
    /// The metadata has a node of that id.
    pub(crate) is_known: bool,
}

impl Claim {
    /// True if another process start may become the same node.
    fn rivals(&self, other: &Self) -> bool {
        if self.incarnation == other.incarnation {
            return false;
        }
        let same_directory = !self.directory.is_nil() && self.directory == other.directory;
        let same_node = match (self.node, other.node) {
            (Some(own), Some(theirs)) => own == theirs,
            // The next free id may be the one that the other names.
            (Some(_), None) => !self.is_known && self.role == other.role,
            (None, Some(_)) => !other.is_known && self.role == other.role,
            // Each gets a free id of its own.
            (None, None) => false,
        };
        same_directory || same_node
    }
}

/// Those that are under way.
#[derive(Debug, Default)]
pub(crate) struct Registrations {
    claims: Mutex<Vec<Claim>>,
}

impl Registrations {
    /// Begins a registration, unless one is under way that may become the same node. `check` looks at what was known
    /// before: nobody begins or ends meanwhile.
    pub(crate) fn begin<T, E>(
        &self,
        check: impl FnOnce() -> Result<(Claim, T), E>,
        taken: impl FnOnce() -> E,
    ) -> Result<(UnderWay<'_>, T), E> {
        let mut claims = self.claims.lock();
        let (claim, found) = check()?;
        if claims.iter().any(|other| claim.rivals(other)) {
            return Err(taken());
        }
        claims.push(claim);
        let under_way = UnderWay {
            registrations: self,
            claim,
        };
        Ok((under_way, found))
    }
}

/// A registration that has begun; over when this is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay<'a> {
    registrations: &'a Registrations,
    claim: Claim,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut claims = self.registrations.claims.lock();
        if let Some(at) = claims.iter().position(|claim| *claim == self.claim) {
            claims.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(incarnation: u128, directory: u128, node: Option<i32>, is_known: bool) -> Claim {
        Claim {
            incarnation: Uuid::from_u128(incarnation),
            role: NodeRole::Broker,
            directory: Uuid::from_u128(directory),
            node: node.map(NodeId),
            is_known,
        }
    }

    #[test]
    fn only_those_that_may_become_the_same_node_stand_in_each_others_way() {
        let registrations = Registrations::default();
        let begin = |claim| {
            registrations
                .begin(|| Ok((claim, ())), || "taken")
                .map(|(under_way, ())| under_way)
        };
        let first = begin(claim(1, 11, Some(1), true)).unwrap();
        assert!(begin(claim(2, 22, Some(1), true)).is_err(), "the same id");
        assert!(begin(claim(2, 11, None, false)).is_err(), "the same directory");
        let other = begin(claim(2, 22, Some(2), true)).unwrap();
        let again = begin(claim(1, 11, Some(1), true)).unwrap();
        let nameless = begin(claim(3, 33, None, false)).unwrap();
        let nameless_too = begin(claim(4, 0, None, false)).unwrap();
        assert!(
            begin(claim(5, 0, Some(9), false)).is_err(),
            "a free id that they may get"
        );
        let coordinator = Claim {
            role: NodeRole::Coordinator,
            ..claim(5, 0, Some(9), false)
        };
        drop(begin(coordinator).unwrap());
        drop((nameless, nameless_too, first));
        assert!(begin(claim(2, 22, Some(1), true)).is_err(), "one of two is over");
        drop(again);
        let late = begin(claim(6, 66, Some(1), true)).unwrap();
        drop((other, late, begin(claim(5, 0, Some(9), false)).unwrap()));
        assert!(registrations.claims.lock().is_empty());
    }
}
