//! A process under test: started, stopped, frozen and killed by its own id, with its output in a file.

use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a clean stop may take.
const STOP: Duration = Duration::from_secs(40);

/// A program with its arguments, that runs or not.
pub struct Process {
    name: String,
    command: Vec<OsString>,
    log: PathBuf,
    child: Option<Child>,
    ended: Option<ExitStatus>,
    frozen: bool,
}

impl Process {
    /// A process that is not started yet. `name` is what a failed test calls it; it logs to a file in `dir`.
    pub fn new(name: &str, dir: &Path, command: Vec<OsString>) -> Self {
        Self {
            name: name.to_owned(),
            command,
            log: dir.join(format!("{name}.log")),
            child: None,
            ended: None,
            frozen: false,
        }
    }

    /// What a failed test calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it runs already, or cannot be started.
    pub fn start(&mut self) {
        assert!(!self.is_running(), "{} runs already", self.name);
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.expect("the log file");
        let errors = log.try_clone().expect("the log file");
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        // Highwater refuses a `HIGHWATER_...` that names no config: the settings of the suites are none of its own.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HIGHWATER_") {
                command.env_remove(name);
            }
        }
        self.ended = None;
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        self.child = Some(child.unwrap_or_else(|e| panic!("{} cannot be started: {e}", self.name)));
    }

    /// Whether it has been started and has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.is_some() && self.exited().is_none()
    }

    /// The status it has ended with by itself or on request. `None` while it runs, and when it was killed.
    ///
    /// # Panics
    /// When the system does not know the child.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if let Some(child) = &mut self.child {
            self.ended = child.try_wait().expect("a child of ours");
        }
        if self.ended.is_some() {
            self.child = None;
            self.frozen = false;
        }
        self.ended
    }

    /// Its id.
    ///
    /// # Panics
    /// When it was not started.
    pub fn pid(&self) -> Pid {
        let child = self.child.as_ref();
        Pid::from_child(child.unwrap_or_else(|| panic!("{} does not run", self.name)))
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap_or_else(|e| panic!("{}: {e}", self.name));
    }

    /// SIGKILL, and gone.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.ended = None;
        self.frozen = false;
    }

    /// SIGSTOP: it holds its connections and locks, and does nothing. A process that has ended stays so.
    pub fn freeze(&mut self) {
        if !self.is_running() {
            return;
        }
        self.signal(Signal::STOP);
        self.frozen = true;
    }

    /// SIGCONT. Does nothing to a process that is not frozen.
    pub fn thaw(&mut self) {
        if self.frozen && self.is_running() {
            self.signal(Signal::CONT);
        }
        self.frozen = false;
    }

    /// Asks it to stop, without waiting.
    pub fn ask_to_stop(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGTERM, and the status it ends with.
    ///
    /// # Panics
    /// When it does not end in 40 s.
    pub fn terminate(&mut self) -> ExitStatus {
        self.ask_to_stop();
        self.wait(STOP)
    }

    /// Waits until it ends.
    ///
    /// # Panics
    /// When it does not within `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.exited() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "{} does not end:\n{}",
                self.name,
                self.log_tail(40)
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// All it has written to stdout and stderr.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        crate::broker::tail(&self.log(), lines)
    }

    /// Resident memory in KiB.
    ///
    /// # Panics
    /// When it does not run.
    pub fn rss_kib(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        let figure = line
            .and_then(|l| l.split_whitespace().next())
            .and_then(|n| n.parse().ok());
        figure.unwrap_or_else(|| panic!("no VmRSS of {} in\n{status}", self.name))
    }

    /// CPU time used so far.
    ///
    /// # Panics
    /// When it does not run.
    pub fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<u64>().expect("a number");
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    /// How many files it has open.
    pub fn open_files(&self) -> usize {
        let dir = format!("/proc/{}/fd", self.pid().as_raw_nonzero());
        std::fs::read_dir(dir).map_or(0, Iterator::count)
    }

    fn proc(&self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.pid().as_raw_nonzero());
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {path}: {e}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}
