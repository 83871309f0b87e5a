//! Topics that are being created because a client asked for them: each is asked for once at a time.

use std::collections::HashSet;

use parking_lot::Mutex;

/// Topics that are being created at a time; what is beyond comes with the client's next question.
const MAX_IN_FLIGHT: usize = 1_000;

/// Topics that this broker is having created.
#[derive(Debug, Default)]
pub(crate) struct Creating {
    names: Mutex<HashSet<String>>,
}

impl Creating {
    /// Those of the names that are not being created yet; from now on they are.
    pub(crate) fn begin(&self, names: Vec<String>) -> Vec<String> {
        let mut creating = self.names.lock();
        let mut begun = Vec::new();
        for name in names {
            if creating.len() < MAX_IN_FLIGHT && creating.insert(name.clone()) {
                begun.push(name);
            }
        }
        begun
    }

    /// They exist now, or will not for the time being.
    pub(crate) fn end(&self, names: &[String]) {
        let mut creating = self.names.lock();
        for name in names {
            creating.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_asked_for_once_at_a_time_and_never_too_many() {
        let creating = Creating::default();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(creating.begin(names(&["a", "b"])), ["a", "b"]);
        assert_eq!(creating.begin(names(&["b", "c"])), ["c"]);
        creating.end(&names(&["b"]));
        assert_eq!(creating.begin(names(&["a", "b"])), ["b"]);
        let many: Vec<String> = (0..MAX_IN_FLIGHT).map(|n| n.to_string()).collect();
        assert_eq!(creating.begin(many).len(), MAX_IN_FLIGHT - 3);
    }
}
