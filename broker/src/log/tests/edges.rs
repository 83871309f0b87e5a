//! What "flushed" means at the edges: a test per sentence of the design.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use super::*;

/// A partition as the flusher sees it.
struct Target {
    log: Mutex<Log>,
    slot: FlushSlot,
    flushes: AtomicUsize,
    /// Held while a flush of this target is to take long.
    stall: Mutex<()>,
}

impl Target {
    fn new(log: Log) -> Arc<Self> {
        Arc::new(Self {
            log: Mutex::new(log),
            slot: FlushSlot::default(),
            flushes: AtomicUsize::new(0),
            stall: Mutex::new(()),
        })
    }
}

impl FlushTarget for Target {
    fn take_ticket(&self) -> Option<FlushTicket> {
        let ticket = self.log.lock().take_flush_ticket();
        drop(self.stall.lock());
        ticket
    }

    fn flushed(&self, outcome: FlushOutcome) {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        self.log.lock().complete_flush(&outcome);
    }

    fn flush_slot(&self) -> &FlushSlot {
        &self.slot
    }

    fn trim(&self) {
        self.log.lock().trim();
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < secs(10), "never: {what}");
        std::thread::yield_now();
    }
}

/// A file whose fdatasync fails.
fn unflushable() -> Arc<std::fs::File> {
    let (reader, _writer) = rustix::pipe::pipe().unwrap();
    Arc::new(std::fs::File::from(reader))
}

#[test]
fn flushed_end_after_recovery_is_0_until_the_tail_was_flushed_once() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(&config());
    append(&mut log, &batch(0, 3));
    flush(&mut log);
    append(&mut log, &batch(1, 3));
    assert_eq!((log.flushed_end(), log.log_end()), (Offset(3), Offset(6)));
    drop(log);
    let (mut log, recovery) = disk.open(&config());
    assert_eq!((log.flushed_end(), log.log_end()), (Offset(0), Offset(6)));
    assert!(recovery.scanned_bytes > 0);
    let ticket = log.take_flush_ticket().unwrap();
    let log_file = disk.path("00000000000000000000.log");
    assert!(
        ticket.files.iter().any(|dirty| same_file(&dirty.file, &log_file)),
        "what was recovered is flushed"
    );
    assert!(ticket.dir.is_some() && ticket.created.is_some());
    log.complete_flush(&ticket.flush());
    assert_eq!(log.flushed_end(), Offset(6));
    close(log);
    let (log, recovery) = disk.open(&config());
    assert_eq!(
        (log.flushed_end(), recovery),
        (Offset(6), Recovery::default()),
        "a clean stop needs neither"
    );
}

fn same_file(file: &std::fs::File, path: &std::path::Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    file.metadata().unwrap().ino() == std::fs::metadata(path).unwrap().ino()
}

#[test]
fn a_completion_of_an_older_generation_is_ignored() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(&config());
    for i in 0..4 {
        append(&mut log, &batch(i, 2));
    }
    let ticket = log.take_flush_ticket().unwrap();
    assert_eq!(ticket.end(), Offset(8));
    assert!(log.take_flush_ticket().is_none(), "one flush at a time");
    log.truncate_to(Offset(4)).unwrap();
    append_in(&mut log, 1, &batch(9, 3));
    assert_eq!(log.complete_flush(&ticket.flush()), None);
    assert_eq!(
        log.flushed_end(),
        Offset(0),
        "what was flushed is not what is there now"
    );
    flush(&mut log);
    assert_eq!(log.flushed_end(), Offset(7));
}

#[test]
fn a_new_file_counts_after_its_directory_was_flushed() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(&config());
    append(&mut log, &batch(0, 1));
    let ticket = log.take_flush_ticket().unwrap();
    assert_eq!(
        ticket.dir.as_deref(),
        Some(disk.path("").as_path().components().as_path())
    );
    assert!(ticket.created.is_some(), "the partition's directory is new itself");
    let metadata = disk.path("partition.metadata");
    assert!(ticket.files.iter().any(|dirty| same_file(&dirty.file, &metadata)));
    log.complete_flush(&ticket.flush());

    append(&mut log, &batch(1, 1));
    let ticket = log.take_flush_ticket().unwrap();
    assert!(
        ticket.dir.is_none() && ticket.created.is_none() && ticket.files.len() == 1,
        "an append costs one fdatasync"
    );
    log.complete_flush(&ticket.flush());

    while log.segment_count() == 1 {
        append(&mut log, &batch(2, 1));
    }
    let ticket = log.take_flush_ticket().unwrap();
    assert!(ticket.dir.is_some());
    let base = log.active_base();
    for name in [format!("{:020}.log", base.0), format!("{:020}.snapshot", base.0)]
        .into_iter()
        .chain(["log", "index", "timeindex"].map(|suffix| format!("{:020}.{suffix}", 0)))
    {
        let path = disk.path(&name);
        assert!(ticket.files.iter().any(|dirty| same_file(&dirty.file, &path)), "{name}");
    }
}

#[test]
fn a_failed_fdatasync_is_never_retried_and_takes_the_disk_offline() {
    let disk = Disk::new();
    let log_dir = disk.start();
    let (mut log, _) = try_open(&log_dir, &config()).unwrap();
    let (mut neighbour, _) = Log::open(&log_dir, "topic", PartitionIndex(1), TOPIC_ID, config(), NOW).unwrap();
    append(&mut log, &batch(0, 1));
    append(&mut neighbour, &batch(0, 1));
    log.dirty.add(&unflushable(), false);

    let told = Arc::new(AtomicUsize::new(0));
    let tell = Arc::clone(&told);
    let flusher = Flusher::start(Arc::clone(&log_dir), 1, move |_| {
        tell.fetch_add(1, Ordering::SeqCst);
    })
    .unwrap();
    let (failing, neighbour) = (Target::new(log), Target::new(neighbour));
    flusher.submit(&(Arc::clone(&failing) as Arc<dyn FlushTarget>));
    wait_until("the failure is told", || told.load(Ordering::SeqCst) == 1);
    for target in [&failing, &neighbour] {
        flusher.submit(&(Arc::clone(target) as Arc<dyn FlushTarget>));
    }
    flusher.stop();
    assert_eq!(told.load(Ordering::SeqCst), 1);
    assert!(log_dir.failure().is_some());
    for target in [failing, neighbour] {
        let mut log = target.log.lock();
        assert_eq!(log.flushed_end(), Offset(0), "nothing on the disk counts any more");
        let refused = log.append_as_leader(&[batch(1, 1)], LeaderEpoch(0), NOW);
        assert!(matches!(refused, Err(LogError::DiskFailed { .. })));
        assert!(log.close_clean().is_err());
    }
    assert!(log_dir.close_clean().is_err(), "the next start scans");
}

#[test]
fn a_truncation_is_flushed_before_the_next_append_is_acknowledged() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(&config());
    for i in 0..30 {
        append(&mut log, &batch(i, 1));
    }
    flush(&mut log);
    log.log_dir.write_flush_points().unwrap();
    let at = log.segments[1].base.plus(1);
    log.truncate_to(at).unwrap();
    assert_eq!((log.log_end(), log.flushed_end()), (at, at));
    let recorded = std::fs::read_to_string(disk.temp.path().join("flush-point")).unwrap();
    assert!(
        recorded.ends_with(&format!(" {at} 0\n")),
        "the flush point is taken back before anything is cut"
    );
    assert_eq!(
        disk.names().iter().filter(|name| name.ends_with(".log")).count(),
        2,
        "files behind the cut are unlinked"
    );

    append_in(&mut log, 1, &batch(50, 1));
    let ticket = log.take_flush_ticket().unwrap();
    let cut = log.segments[1].file(log.files(&log.segments[1])).unwrap();
    assert!(
        ticket
            .files
            .iter()
            .any(|dirty| Arc::ptr_eq(&dirty.file, &cut) && dirty.cut)
    );
    assert!(ticket.dir.is_some());
    assert_eq!(log.flushed_end(), at);
    log.complete_flush(&ticket.flush());
    assert_eq!(log.flushed_end(), at.plus(1));
}

#[test]
fn the_flush_point_tells_a_torn_tail_from_lost_data() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(&config());
    append_in(&mut log, 3, &batch(0, 2));
    flush(&mut log);
    let flushed = log.size();
    append_in(&mut log, 3, &batch(1, 2));
    log.log_dir.write_flush_points().unwrap();
    drop(log);
    let path = disk.path("00000000000000000000.log");
    let whole = std::fs::read(&path).unwrap();

    std::fs::write(&path, &whole[..flushed as usize + 30]).unwrap();
    let (log, recovery) = disk.open(&config());
    assert_eq!(
        (log.log_end(), recovery.short, recovery.cut_bytes),
        (Offset(2), None, 30)
    );
    drop(log);

    for size in [flushed - 1, 40, 0] {
        std::fs::write(&path, &whole[..size as usize]).unwrap();
        let (log, recovery) = disk.open(&config());
        let point = FlushPoint {
            end: Offset(2),
            epoch: LeaderEpoch(3),
        };
        assert_eq!(
            (log.log_end(), recovery.short),
            (Offset(0), Some(point)),
            "cut to {size}"
        );
    }
    std::fs::remove_dir_all(disk.path("")).unwrap();
    let log_dir = disk.start();
    assert_eq!(log_dir.inventory().unwrap().missing, [("topic-0".to_owned(), TOPIC_ID)]);
    assert!(try_open(&log_dir, &config()).unwrap().1.short.is_some());
}

#[test]
fn the_flush_point_is_rewritten_at_most_once_a_second() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(&config());
    let path = disk.temp.path().join("flush-point");
    let mut waits = Vec::new();
    for i in 0..3 {
        append(&mut log, &batch(i, 1));
        flush(&mut log);
        waits.push(log.log_dir.write_flush_points_if_due().unwrap());
    }
    assert_eq!(
        waits,
        [false, true, true],
        "written at once, then not before a second has passed"
    );
    assert!(std::fs::read_to_string(&path).unwrap().ends_with(" 1 0\n"));
    log.log_dir.write_flush_points().unwrap();
    assert!(std::fs::read_to_string(&path).unwrap().ends_with(" 3 0\n"));
    let kafkas = std::fs::read_to_string(disk.temp.path().join("recovery-point-offset-checkpoint")).unwrap();
    assert_eq!(kafkas, "0\n1\ntopic 0 3\n");
}

#[test]
fn turning_write_caching_off_makes_the_flushed_end_the_real_one_at_once() {
    let disk = Disk::new();
    let caching = with(|c| c.write_caching = true);
    let (mut log, _) = disk.open(&caching);
    log.write_caching_is_noted();
    append(&mut log, &batch(0, 2));
    flush(&mut log);
    append(&mut log, &batch(1, 2));
    assert_eq!((log.flushed_end(), log.durable_end()), (Offset(4), Offset(2)));
    log.set_config(config());
    assert_eq!(log.flushed_end(), Offset(2));
    flush(&mut log);
    assert_eq!(log.flushed_end(), Offset(4));
}

#[test]
fn a_target_queued_twice_is_flushed_once_and_the_age_of_the_oldest_shows() {
    let disk = Disk::new();
    let log_dir = disk.start();
    let flusher = Flusher::start(Arc::clone(&log_dir), 1, |_| ()).unwrap();
    let target = |partition| {
        let log = Log::open(&log_dir, "topic", PartitionIndex(partition), TOPIC_ID, config(), NOW)
            .unwrap()
            .0;
        Target::new(log)
    };
    let (blocker, waiting) = (target(0), target(1));
    assert_eq!(flusher.oldest_unfinished(), Duration::ZERO);
    append(&mut blocker.log.lock(), &batch(0, 1));
    let stall = blocker.stall.lock();
    let submit = |target: &Arc<Target>| flusher.submit(&(Arc::clone(target) as Arc<dyn FlushTarget>));
    submit(&blocker);
    wait_until("the thread is busy", || flusher.queued() == 0);
    for i in 0..10 {
        append(&mut waiting.log.lock(), &batch(i, 1));
        submit(&waiting);
    }
    assert_eq!(flusher.queued(), 1);
    // What comes while a flush is under way goes with another round.
    append(&mut blocker.log.lock(), &batch(1, 1));
    submit(&blocker);
    submit(&blocker);
    wait_until("time passes", || flusher.oldest_unfinished() > Duration::from_millis(2));
    drop(stall);
    wait_until("all is flushed", || {
        blocker.log.lock().flushed_end() == Offset(2) && waiting.log.lock().flushed_end() == Offset(10)
    });
    wait_until("the age falls back", || flusher.oldest_unfinished() == Duration::ZERO);
    assert_eq!(
        (
            blocker.flushes.load(Ordering::SeqCst),
            waiting.flushes.load(Ordering::SeqCst)
        ),
        (2, 1)
    );
}

#[test]
fn a_second_process_is_kept_out() {
    let disk = Disk::new();
    let first = disk.start();
    assert!(matches!(
        LogDir::open(disk.temp.path(), 100),
        Err(LogError::Locked { .. })
    ));
    drop(first);
    disk.start();
}

#[test]
fn segments_are_filled_ahead_and_hold_nothing_else_when_they_are_closed() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(&with(|c| c.segment_bytes = 100_000));
    let path = disk.path("00000000000000000000.log");
    let length = || std::fs::metadata(&path).unwrap().len();
    for i in 0..5 {
        append(&mut log, &batch(i, 2));
        flush(&mut log);
    }
    assert!(length() > log.size() + 60_000, "a flush carries data only");
    let batches = read_all(&log);
    drop(log);

    let (mut log, recovery) = disk.open(&with(|c| c.segment_bytes = 100_000));
    assert_eq!((read_all(&log), recovery.cut_bytes, recovery.short), (batches, 0, None));
    assert_eq!(length(), log.size(), "recovery cuts the filler off");
    for i in 0..5 {
        append(&mut log, &batch(i, 2));
        flush(&mut log);
    }
    assert!(length() > log.size());
    let size = log.size();
    log.roll(NOW).unwrap();
    assert_eq!(length(), size);
    let ticket = log.take_flush_ticket().unwrap();
    assert!(
        ticket
            .files
            .iter()
            .any(|dirty| same_file(&dirty.file, &path) && dirty.cut)
    );
    log.complete_flush(&ticket.flush());

    let active = disk.path(&format!("{:020}.log", log.active_base().0));
    for i in 0..5 {
        append(&mut log, &batch(i, 2));
        flush(&mut log);
    }
    let end = log.log_end();
    let expected = log.size() - size;
    close(log);
    assert_eq!(
        std::fs::metadata(active).unwrap().len(),
        expected,
        "and so does a clean stop"
    );
    assert_eq!(disk.open(&config()).0.log_end(), end);
}

#[test]
fn what_was_filled_ahead_goes_when_no_more_batches_come() {
    let disk = Disk::new();
    let log_dir = disk.start();
    let flusher = Flusher::start(Arc::clone(&log_dir), 2, |_| ()).unwrap();
    let (log, _) = try_open(&log_dir, &with(|c| c.segment_bytes = 1 << 20)).unwrap();
    let target = Target::new(log);
    let path = disk.path("00000000000000000000.log");
    let length = || std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
    for i in 0..4 {
        append(&mut target.log.lock(), &batch(i, 1));
        flusher.submit(&(Arc::clone(&target) as Arc<dyn FlushTarget>));
        wait_until("it is flushed", || {
            target.log.lock().flushed_end() == Offset(i as i64 + 1)
        });
    }
    let size = target.log.lock().size();
    assert!(length() > size);
    wait_until("it is trimmed", || length() == size);
    append(&mut target.log.lock(), &batch(9, 1));
    flusher.submit(&(Arc::clone(&target) as Arc<dyn FlushTarget>));
    wait_until("it goes on", || target.log.lock().flushed_end() == Offset(5));
    assert_eq!(read_all(&target.log.lock()).len(), 5);
}
