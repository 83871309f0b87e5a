//! Stopping: the first SIGTERM or SIGINT asks every task to finish, a second one or the end of the grace ends the
//! process.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Exit status when the process did not stop within its grace.
const EXIT_GRACE_OVER: i32 = 1;

/// The wish to stop, shared by all tasks of a process, and the tasks that have to finish first.
#[derive(Clone, Debug)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
    grace: Duration,
}

/// Some tasks were still running when the grace was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{tasks} tasks did not finish within {grace:?}")]
pub struct GraceOver {
    /// How many tasks were left.
    pub tasks: usize,
    /// The grace they had.
    pub grace: Duration,
}

impl Shutdown {
    /// Nothing has been asked to stop yet; once asked, tasks have `grace` to finish.
    #[must_use]
    pub fn new(grace: Duration) -> Self {
        Self {
            token: CancellationToken::new(),
            tasks: TaskTracker::new(),
            grace,
        }
    }

    /// Stops with this one, and can be triggered alone: for a part of the process. Its tasks are its own.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            token: self.token.child_token(),
            tasks: TaskTracker::new(),
            grace: self.grace,
        }
    }

    /// Asks everything to stop. Can be called again.
    pub fn trigger(&self) {
        self.token.cancel();
    }

    /// True once asked to stop.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Completes once asked to stop.
    pub async fn triggered(&self) {
        self.token.cancelled().await;
    }

    /// The token behind it, for what takes one.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// How long tasks have to finish once asked.
    #[must_use]
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// Runs a task that [`Self::finished`] waits for. The task itself watches [`Self::triggered`].
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Waits until stopping was asked for and all tasks are done.
    ///
    /// # Errors
    /// [`GraceOver`] when the grace ends first.
    pub async fn finished(&self) -> Result<(), GraceOver> {
        self.triggered().await;
        self.tasks.close();
        match tokio::time::timeout(self.grace, self.tasks.wait()).await {
            Ok(()) => Ok(()),
            Err(_) => Err(GraceOver {
                tasks: self.tasks.len(),
                grace: self.grace,
            }),
        }
    }

    /// Triggers at SIGTERM or SIGINT. From then on a second signal ends the process at once (status 128 + signal), and
    /// so does the end of the grace (status 1), for the case that something blocks the runtime's way out.
    ///
    /// # Errors
    /// When a signal handler cannot be installed.
    pub fn on_signals(&self) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        // Not tracked: this task outlives all others.
        tokio::spawn(async move {
            let first = either(&mut terminate, &mut interrupt).await;
            tracing::info!(signal = name(first), grace = ?shutdown.grace, "stopping; a second signal stops at once");
            shutdown.trigger();
            end_process_after(shutdown.grace);
            let second = either(&mut terminate, &mut interrupt).await;
            tracing::warn!(signal = name(second), "stopped at once by a second signal");
            std::process::exit(128 + second.as_raw_value());
        });
        Ok(())
    }
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> SignalKind {
    tokio::select! {
        _ = terminate.recv() => SignalKind::terminate(),
        _ = interrupt.recv() => SignalKind::interrupt(),
    }
}

fn name(kind: SignalKind) -> &'static str {
    if kind == SignalKind::terminate() {
        "SIGTERM"
    } else {
        "SIGINT"
    }
}

/// A plain thread: it also works when every worker of the runtime is blocked.
fn end_process_after(grace: Duration) {
    // The grace of the tasks plus time to write down why they did not finish.
    let limit = grace + Duration::from_secs(1);
    let watchdog = move || {
        std::thread::sleep(limit);
        tracing::error!(?limit, "did not stop in time; the process ends now");
        std::process::exit(EXIT_GRACE_OVER);
    };
    if let Err(error) = std::thread::Builder::new()
        .name("shutdown-watchdog".to_owned())
        .spawn(watchdog)
    {
        tracing::warn!(%error, "no watchdog for the shutdown");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn finishing_waits_for_the_tasks_that_were_asked_to_stop() {
        let shutdown = Shutdown::new(Duration::from_secs(10));
        let task = shutdown.clone();
        let handle = shutdown.spawn(async move {
            task.triggered().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            "flushed"
        });
        shutdown.trigger();
        assert_eq!(shutdown.finished().await, Ok(()));
        assert_eq!(handle.await.unwrap(), "flushed");
    }

    #[tokio::test(start_paused = true)]
    async fn the_grace_bounds_the_wait() {
        let shutdown = Shutdown::new(Duration::from_secs(10));
        shutdown.spawn(std::future::pending::<()>());
        shutdown.trigger();
        assert_eq!(
            shutdown.finished().await,
            Err(GraceOver {
                tasks: 1,
                grace: Duration::from_secs(10)
            })
        );
    }

    #[test]
    fn a_child_stops_with_its_parent_but_not_the_other_way() {
        let parent = Shutdown::new(Duration::ZERO);
        let first = parent.child();
        first.trigger();
        assert!(!parent.is_triggered());
        let second = parent.child();
        parent.trigger();
        assert!(second.is_triggered());
    }
}
