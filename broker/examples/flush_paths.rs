//! Measures ways to get appends on disk before they are acknowledged, on the disk of the given directory.
//!
//!     cargo run --release -p highwater-broker --example flush_paths -- DIR [SECONDS per cell] [REPEATS] [THREADS]
//!
//! A generator keeps a number of 16 KiB batches in flight, spread over 4, 100 or 1,000 partitions: when one is on disk,
//! the next of its partition is appended. Candidates:
//!
//! - `fdatasync`: page cache, then fdatasync per file, on a few threads;
//! - `filled+fdatasync`, `filled+dsync`: the same into segments that were filled with zeros ahead, so that a flush
//!   carries no metadata; with fdatasync, or with `pwritev2(RWF_DSYNC)` in place of both. Filling goes on during the
//!   run and its cost is in the figures;
//! - `journal`: page cache for the segments without waiting, and one file per disk, filled ahead, that takes all batches
//!   that wait in one write and one fdatasync;
//! - `syncfs`: page cache, then one syncfs for all that wait.
//!
//! The repeats alternate between the candidates; the table has the medians.
//!
//! CPU is that of this process; the kernel's write-back and journal threads are not in it. `drained` counts until
//! everything, the segments behind the journal included, is on disk.
#![expect(clippy::print_stdout, reason = "a table is what it is for")]
#![expect(clippy::unwrap_used, reason = "a measurement ends at the first error")]

use std::collections::VecDeque;
use std::fs::File;
use std::io::IoSlice;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::io::ReadWriteFlags;

const BATCH: usize = 16 * 1024;
const JOURNAL: u64 = 512 << 20;
/// Batches that one journal write takes at most.
const JOURNAL_BATCHES: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FlushPath {
    Fdatasync,
    FilledFdatasync,
    FilledDsync,
    Journal,
    Syncfs,
}

impl FlushPath {
    const ALL: [Self; 5] = [
        Self::Fdatasync,
        Self::FilledFdatasync,
        Self::FilledDsync,
        Self::Journal,
        Self::Syncfs,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Fdatasync => "fdatasync",
            Self::FilledFdatasync => "filled+fdatasync",
            Self::FilledDsync => "filled+dsync",
            Self::Journal => "journal",
            Self::Syncfs => "syncfs",
        }
    }

    fn is_filled(self) -> bool {
        matches!(self, Self::FilledFdatasync | Self::FilledDsync)
    }
}

struct Partition {
    file: File,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    position: u64,
    filled: u64,
    /// When the batches that wait were appended.
    waiting: Vec<Instant>,
    queued: bool,
}

struct Run {
    path: FlushPath,
    root: File,
    journal: File,
    partitions: Vec<Partition>,
    chunk: u64,
    /// Partitions to flush, or a batch each for journal and syncfs.
    queue: Mutex<VecDeque<usize>>,
    wake: Condvar,
    stop: AtomicBool,
    batch: Vec<u8>,
    zeros: Vec<u8>,
}

#[derive(Default)]
struct Outcome {
    latencies_us: Vec<u32>,
    commits: u64,
}

impl Run {
    fn prepare(path: FlushPath, dir: &Path, partitions: usize) -> Self {
        let open = |name: String| {
            File::options()
                .create(true)
                .truncate(true)
                .read(true)
                .write(true)
                .open(dir.join(name))
                .unwrap()
        };
        let chunk = if partitions > 100 { 1 << 20 } else { 8 << 20 };
        let zeros = vec![0; chunk];
        let journal = open("journal".to_owned());
        if path == FlushPath::Journal {
            for at in (0..JOURNAL).step_by(zeros.len()) {
                journal.write_all_at(&zeros, at).unwrap();
            }
        }
        let partitions = (0..partitions).map(|i| {
            let file = open(format!("{i}.log"));
            let filled = if path.is_filled() { zeros.len() as u64 } else { 0 };
            if filled > 0 {
                file.write_all_at(&zeros, 0).unwrap();
            }
            Partition {
                file,
                state: Mutex::new(State {
                    filled,
                    ..State::default()
                }),
            }
        });
        let partitions = partitions.collect();
        let root = File::open(dir).unwrap();
        rustix::fs::syncfs(&root).unwrap();
        Self {
            path,
            root,
            journal,
            partitions,
            chunk: chunk as u64,
            queue: Mutex::default(),
            wake: Condvar::new(),
            stop: AtomicBool::new(false),
            batch: (0..BATCH).map(|i| (i * 31 % 251) as u8).collect(),
            zeros,
        }
    }

    /// What a network worker does for one batch.
    fn append(&self, index: usize) {
        let start = Instant::now();
        let partition = &self.partitions[index];
        let mut state = partition.state.lock();
        if self.path != FlushPath::FilledDsync {
            self.fill(partition, &mut state, BATCH as u64);
            partition.file.write_all_at(&self.batch, state.position).unwrap();
            state.position += BATCH as u64;
        }
        state.waiting.push(start);
        let per_file = !matches!(self.path, FlushPath::Journal | FlushPath::Syncfs);
        if per_file && std::mem::replace(&mut state.queued, true) {
            return;
        }
        drop(state);
        self.queue.lock().push_back(index);
        self.wake.notify_one();
    }

    fn fill(&self, partition: &Partition, state: &mut State, bytes: u64) {
        while self.path.is_filled() && state.position + bytes > state.filled {
            partition.file.write_all_at(&self.zeros, state.filled).unwrap();
            state.filled += self.chunk;
        }
    }

    /// A flusher thread: one file at a time.
    fn flush_files(&self, acks: &Sender<usize>) -> Outcome {
        let mut result = Outcome::default();
        while let Some(taken) = self.take(1) {
            let index = taken[0];
            let partition = &self.partitions[index];
            let mut state = partition.state.lock();
            let waiting = std::mem::take(&mut state.waiting);
            if self.path == FlushPath::FilledDsync {
                let bytes = (waiting.len() * BATCH) as u64;
                self.fill(partition, &mut state, bytes);
                let position = state.position;
                state.position += bytes;
                drop(state);
                write_all(
                    &partition.file,
                    &self.batch,
                    waiting.len(),
                    position,
                    ReadWriteFlags::DSYNC,
                );
            } else {
                drop(state);
                rustix::fs::fdatasync(&partition.file).unwrap();
            }
            result.note(&waiting);
            waiting.iter().for_each(|_| acks.send(index).unwrap_or_default());
            let mut state = partition.state.lock();
            state.queued = !state.waiting.is_empty();
            if state.queued {
                drop(state);
                self.queue.lock().push_back(index);
                self.wake.notify_one();
            }
        }
        result
    }

    /// The one thread of `journal` and `syncfs`: all that waits, at once.
    fn flush_all(&self, acks: &Sender<usize>) -> Outcome {
        let mut result = Outcome::default();
        let mut position = 0;
        while let Some(taken) = self.take(JOURNAL_BATCHES) {
            // The first that waits of each entry: entries and waiting batches are as many.
            let starts: Vec<Instant> = taken
                .iter()
                .map(|index| self.partitions[*index].state.lock().waiting.remove(0))
                .collect();
            if self.path == FlushPath::Journal {
                let bytes = (taken.len() * BATCH) as u64;
                if position + bytes > JOURNAL {
                    position = 0;
                }
                write_all(
                    &self.journal,
                    &self.batch,
                    taken.len(),
                    position,
                    ReadWriteFlags::empty(),
                );
                position += bytes;
                rustix::fs::fdatasync(&self.journal).unwrap();
            } else {
                rustix::fs::syncfs(&self.root).unwrap();
            }
            result.note(&starts);
            taken.iter().for_each(|index| acks.send(*index).unwrap_or_default());
        }
        result
    }

    fn take(&self, most: usize) -> Option<Vec<usize>> {
        let mut queue = self.queue.lock();
        while queue.is_empty() {
            if self.stop.load(Ordering::Acquire) {
                return None;
            }
            self.wake.wait_for(&mut queue, Duration::from_millis(20));
        }
        let count = queue.len().min(most);
        Some(queue.drain(..count).collect())
    }
}

impl Outcome {
    fn note(&mut self, starts: &[Instant]) {
        self.commits += 1;
        self.latencies_us
            .extend(starts.iter().map(|start| start.elapsed().as_micros() as u32));
    }
}

fn write_all(file: &File, batch: &[u8], count: usize, mut position: u64, flags: ReadWriteFlags) {
    let mut buffers = vec![IoSlice::new(batch); count];
    let mut left = &mut buffers[..];
    while !left.is_empty() {
        let most = left.len().min(1024);
        let written = rustix::io::pwritev2(file, &left[..most], position, flags).unwrap();
        position += written as u64;
        IoSlice::advance_slices(&mut left, written);
    }
}

/// Keeps `in_flight` batches under way until the time is over.
fn generate(run: &Run, in_flight: usize, acks: &Receiver<usize>, seconds: f64) {
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    for i in 0..in_flight {
        run.append(i % run.partitions.len());
    }
    while Instant::now() < end {
        if let Ok(index) = acks.recv_timeout(Duration::from_millis(100)) {
            run.append(index);
        }
    }
}

/// User and system time of this process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|field| field.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

fn cell(path: FlushPath, dir: &Path, load: (usize, usize), seconds: f64, threads: usize) -> Row {
    let (partitions, in_flight) = load;
    let dir = dir.join(format!("flush-paths-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let run = Run::prepare(path, &dir, partitions);
    let (send, acks) = channel();
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let result = std::thread::scope(|scope| {
        let one = matches!(path, FlushPath::Journal | FlushPath::Syncfs);
        let flushers: Vec<_> = (0..if one { 1 } else { threads })
            .map(|_| {
                let (run, send) = (&run, send.clone());
                scope.spawn(move || {
                    if one {
                        run.flush_all(&send)
                    } else {
                        run.flush_files(&send)
                    }
                })
            })
            .collect();
        generate(&run, in_flight, &acks, seconds);
        run.stop.store(true, Ordering::Release);
        let mut all = Outcome::default();
        for flusher in flushers {
            let part = flusher.join().unwrap();
            all.commits += part.commits;
            all.latencies_us.extend(part.latencies_us);
        }
        all
    });
    let elapsed = start.elapsed().as_secs_f64();
    let cpu = cpu_seconds() - cpu;
    rustix::fs::syncfs(&run.root).unwrap();
    let drained = start.elapsed().as_secs_f64();
    drop(run);
    std::fs::remove_dir_all(&dir).unwrap();
    row(result, [elapsed, drained, cpu])
}

/// acks/s, commits/s, MB/s, MB/s drained, p50 ms, p99 ms, CPU s/GB.
type Row = [f64; 7];

fn row(mut result: Outcome, [elapsed, drained, cpu]: [f64; 3]) -> Row {
    result.latencies_us.sort_unstable();
    let acks = result.latencies_us.len();
    let percentile = |share: f64| {
        let at = (acks as f64 * share) as usize;
        result.latencies_us.get(at).map_or(0.0, |us| f64::from(*us) / 1000.0)
    };
    let bytes = (acks * BATCH) as f64;
    [
        acks as f64 / elapsed,
        result.commits as f64 / elapsed,
        bytes / elapsed / 1e6,
        bytes / drained / 1e6,
        percentile(0.5),
        percentile(0.99),
        cpu / (bytes / 1e9),
    ]
}

fn median(rows: &[Row], column: usize) -> f64 {
    let mut values: Vec<f64> = rows.iter().map(|row| row[column]).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args.next().unwrap_or_else(|| ".".to_owned());
    let seconds = args.next().map_or(2.0, |text| text.parse().unwrap());
    let repeats = args.next().map_or(3, |text| text.parse().unwrap());
    let threads = args.next().map_or(8, |text| text.parse().unwrap());
    println!(
        "| partitions | in flight | path | acks/s | commits/s | MB/s | MB/s drained | p50 ms | p99 ms | CPU s/GB |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for load in [(4, 20), (100, 100), (1000, 1000)] {
        let mut rows: [Vec<Row>; 5] = Default::default();
        for _ in 0..repeats {
            for (path, rows) in FlushPath::ALL.into_iter().zip(&mut rows) {
                rows.push(cell(path, Path::new(&dir), load, seconds, threads));
            }
        }
        for (path, rows) in FlushPath::ALL.into_iter().zip(&rows) {
            let [acks, commits, rate, drained, p50, p99, cpu] = std::array::from_fn(|column| median(rows, column));
            println!(
                "| {} | {} | {} | {acks:.0} | {commits:.0} | {rate:.0} | {drained:.0} | {p50:.1} | {p99:.1} | {cpu:.1} |",
                load.0,
                load.1,
                path.name(),
            );
        }
    }
}
