//! Readiness, as named checks.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The checks of a process; it is ready when all of them are. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Health {
    checks: Arc<Mutex<BTreeMap<&'static str, Result<(), String>>>>,
}

/// One named check, in the hands of what it is about.
#[derive(Clone, Debug)]
pub struct HealthCheck {
    name: &'static str,
    health: Health,
}

impl Health {
    /// No checks: ready.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check, which is not ready until it says so.
    #[must_use]
    pub fn check(&self, name: &'static str) -> HealthCheck {
        self.checks.lock().insert(name, Err("starting".to_owned()));
        HealthCheck {
            name,
            health: self.clone(),
        }
    }

    /// True when every check is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.checks.lock().values().all(Result::is_ok)
    }

    /// One line per check: its name, and `ok` or why it is not ready.
    #[must_use]
    pub fn report(&self) -> String {
        let line = |(name, state): (&&str, &Result<(), String>)| match state {
            Ok(()) => format!("{name}: ok\n"),
            Err(reason) => format!("{name}: {reason}\n"),
        };
        self.checks.lock().iter().map(line).collect()
    }
}

impl HealthCheck {
    /// This part works.
    pub fn ready(&self) {
        self.health.checks.lock().insert(self.name, Ok(()));
    }

    /// This part does not work, or not any more.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.health.checks.lock().insert(self.name, Err(reason.into()));
    }
}
