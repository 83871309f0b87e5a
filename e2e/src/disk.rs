//! A small disk of its own for a data folder: an ext4 in a file, mounted over a loop device. It can be full, be read
//! only, and lose its power.
//!
//! Needs root, or sudo without a password, for `mount`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;

/// How long a slow disk holds everything at a time, and how long nothing.
const HELD: Duration = Duration::from_millis(300);
const FREE: Duration = Duration::from_millis(30);

/// Room for what a file system keeps besides files, in MiB.
const OVERHEAD_MIB: u32 = 64;

/// A mounted disk. Unmounted when dropped.
pub struct Disk {
    scratch: TempDir,
    /// Where its image is, if it can stall as a device does.
    device: Option<Box<Disk>>,
}

impl Disk {
    /// Makes and mounts a disk of that many MiB.
    ///
    /// # Panics
    /// When this machine does not let us mount: a test that needs a disk then fails and says so.
    pub fn new(mib: u32) -> Self {
        Self::on(mib, None)
    }

    /// One whose device can stall ([`Disk::stall_device`]): its image is on another disk, which can be frozen.
    ///
    /// # Panics
    /// As [`Disk::new`].
    pub fn on_a_device(mib: u32) -> Self {
        Self::on(mib, Some(Box::new(Self::new(mib + OVERHEAD_MIB))))
    }

    fn on(mib: u32, device: Option<Box<Self>>) -> Self {
        let within = device.as_ref().map_or_else(std::env::temp_dir, |device| device.path());
        let disk = Self {
            scratch: TempDir::with_prefix_in("highwater-disk-", within).expect("a temporary folder"),
            device,
        };
        std::fs::create_dir(disk.path()).expect("a folder of ours");
        run("truncate", &["-s", &format!("{mib}M"), &disk.image()]);
        // Without reserved blocks, so that full is full for root too.
        run("mkfs.ext4", &["-q", "-F", "-m", "0", &disk.image()]);
        disk.mount();
        disk
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.scratch.path().join("mounted")
    }

    fn image(&self) -> String {
        self.scratch.path().join("image").to_string_lossy().into_owned()
    }

    fn mount(&self) {
        // The journal is committed by fsync alone, so that what nobody flushed is not on the disk by chance.
        as_root(
            "mount",
            &[
                "-o",
                "loop,commit=300,noatime",
                &self.image(),
                &self.path().to_string_lossy(),
            ],
        );
    }

    fn unmount(&self) {
        as_root("umount", &[&self.path().to_string_lossy()]);
    }

    /// Puts everything written so far on the disk.
    pub fn sync(&self) {
        run("sync", &["-f", &self.path().to_string_lossy()]);
    }

    /// Makes it read only. Nobody may have a file open for writing on it.
    pub fn read_only(&self) {
        self.remount("ro");
    }

    /// Makes it writable again.
    pub fn read_write(&self) {
        self.remount("rw");
    }

    fn remount(&self, how: &str) {
        as_root(
            "mount",
            &["-o", &format!("remount,{how}"), &self.path().to_string_lossy()],
        );
    }

    /// Holds every write and flush until it is thawed: a disk that stalls.
    pub fn freeze(&self) {
        as_root("fsfreeze", &["-f", &self.path().to_string_lossy()]);
    }

    /// Holds what goes to the device until it is thawed: the page cache takes writes as before, no flush ends.
    ///
    /// # Panics
    /// When it is not one of [`Disk::on_a_device`].
    pub fn stall_device(&self) {
        self.device.as_ref().expect("a disk on a device").freeze();
    }

    /// Lets writes go on. Does nothing when they do.
    pub fn thaw(&self) {
        if let Some(device) = &self.device {
            device.thaw();
        }
        // It refuses when nothing is frozen.
        let _ = root_command("fsfreeze", &["-u", &self.path().to_string_lossy()]).output();
    }

    /// A slow disk: holds writes and flushes most of the time, in pulses, until what this returns is dropped.
    pub fn slow_down(&self) -> SlowDisk {
        let (stop, path) = (Arc::new(AtomicBool::new(false)), self.path());
        let stopped = Arc::clone(&stop);
        let pulses = std::thread::spawn(move || {
            let path = path.to_string_lossy();
            while !stopped.load(Ordering::Relaxed) {
                // It refuses when another test froze it.
                let frozen = root_command("fsfreeze", &["-f", &path]).output();
                std::thread::sleep(HELD);
                if frozen.is_ok_and(|output| output.status.success()) {
                    let _ = root_command("fsfreeze", &["-u", &path]).output();
                }
                std::thread::sleep(FREE);
            }
        });
        SlowDisk {
            stop,
            pulses: Some(pulses),
        }
    }

    /// Makes it read only under a process that writes, as ext4 does by itself when it meets an error.
    pub fn emergency_read_only(&self) {
        self.remount("abort");
    }

    /// Mounts it anew after an emergency.
    pub fn repair(&self) {
        self.unmount();
        // 1: errors were found and corrected.
        let fsck = Command::new("e2fsck")
            .args(["-p", "-f", &self.image()])
            .status()
            .expect("e2fsck starts");
        assert!(fsck.code().is_some_and(|c| c <= 1), "e2fsck ended with {fsck}");
        self.mount();
    }

    /// Takes the power away: what was not flushed is gone. Nobody may have a file open on it.
    ///
    /// What was flushed is in the image, what was not is only in the page cache of the mounted file system: a copy of the
    /// image, taken now, is the disk after a power cut.
    pub fn power_cut(&self) {
        let copy = format!("{}.copy", self.image());
        run("cp", &["--sparse=always", &self.image(), &copy]);
        self.unmount();
        std::fs::rename(copy, self.image()).expect("a file of ours");
        self.mount();
    }
}

/// A disk that is slow as long as this lives.
pub struct SlowDisk {
    stop: Arc<AtomicBool>,
    pulses: Option<JoinHandle<()>>,
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(pulses) = self.pulses.take() {
            let _ = pulses.join();
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.thaw();
        // Lazily: a process that a failed test leaves behind may still have files open.
        let _ = root_command("umount", &["-l", &self.path().to_string_lossy()]).status();
    }
}

fn root_command(program: &str, args: &[&str]) -> Command {
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new(program)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", program]);
        sudo
    };
    command.args(args);
    command
}

fn as_root(program: &str, args: &[&str]) {
    finish(root_command(program, args));
}

fn run(program: &str, args: &[&str]) {
    let mut command = Command::new(program);
    command.args(args);
    finish(command);
}

fn finish(mut command: Command) {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?} ended with {}: {} (this test needs loop devices and the right to mount)",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// By how much less a disk is filled when it does not take as many bytes as it says are free.
const STEP: u64 = 16 << 10;

/// Fills the disk that holds `dir` but for about `left` bytes, with a file that it returns.
///
/// # Errors
/// An IO error other than a full disk.
pub fn fill(dir: &Path, left: u64) -> std::io::Result<PathBuf> {
    let stat = rustix::fs::statvfs(dir)?;
    let free = stat.f_bavail * stat.f_frsize;
    let path = dir.join("filler");
    let file = std::fs::File::create(&path)?;
    let mut size = free.saturating_sub(left).max(4096);
    // The file system needs some blocks to say where the others are.
    while let Err(error) = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size) {
        if error != rustix::io::Errno::NOSPC || size <= STEP {
            return Err(error.into());
        }
        size -= STEP;
    }
    Ok(path)
}
