//! What a data directory says against its replicas, from one process to the next.

use super::*;

fn caching() -> Arc<LogConfig> {
    with(|config| config.write_caching = true)
}

fn key() -> TopicPartition {
    TopicPartition {
        topic_id: TOPIC_ID,
        partition: PartitionIndex(0),
    }
}

fn note(log: &mut Log) {
    let topic = [("topic", PartitionIndex(0), TOPIC_ID)];
    log.log_dir.note_write_caching(topic).unwrap();
    log.write_caching_is_noted();
}

/// The process is killed; the next one finds these untrusted, and no log short.
fn untrusted_after_kill(disk: &Disk, log: Log) -> Vec<TopicPartition> {
    drop(log);
    let log_dir = disk.start();
    assert!(!log_dir.was_clean());
    assert_eq!(log_dir.short(), []);
    log_dir.untrusted()
}

#[test]
fn the_page_cache_counts_only_once_that_is_on_record() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(&caching());
    append(&mut log, &batch(0, 2));
    assert!(log.awaits_write_caching());
    assert_eq!(log.flushed_end(), Offset(0), "nothing says yet that it caches");
    let file = disk.temp.path().join("trust-checkpoint");
    assert!(!file.exists());
    note(&mut log);
    assert_eq!(log.flushed_end(), Offset(2));
    let text = std::fs::read_to_string(file).unwrap();
    assert_eq!(text, format!("0\n1\ntopic 0 {TOPIC_ID} caching\n"));
    assert_eq!(untrusted_after_kill(&disk, log), [key()]);
}

#[test]
fn with_caching_off_a_flush_makes_the_replica_trusted_again_and_nothing_less() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(&caching());
    note(&mut log);
    append(&mut log, &batch(0, 2));
    // The flush that is under way when caching is turned off does not reach what came after it began.
    let ticket = log.take_flush_ticket().unwrap();
    append(&mut log, &batch(1, 2));
    log.set_config(config());
    log.complete_flush(&ticket.flush());
    log.log_dir.write_flush_points().unwrap();
    assert_eq!(
        untrusted_after_kill(&disk, log),
        [key()],
        "two records were not flushed"
    );

    let disk = Disk::new();
    let (mut log, _) = disk.open(&caching());
    note(&mut log);
    append(&mut log, &batch(0, 2));
    log.set_config(config());
    flush(&mut log);
    log.log_dir.write_flush_points().unwrap();
    assert_eq!(untrusted_after_kill(&disk, log), []);
}

#[test]
fn a_flush_alone_makes_nobody_trusted_while_caching_is_on() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(&caching());
    note(&mut log);
    append(&mut log, &batch(0, 2));
    flush(&mut log);
    log.log_dir.write_flush_points().unwrap();
    assert_eq!(untrusted_after_kill(&disk, log), [key()]);
}

#[test]
fn a_clean_stop_trusts_all() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(&caching());
    note(&mut log);
    append(&mut log, &batch(0, 2));
    close(log);
    let log_dir = disk.start();
    assert!(log_dir.was_clean());
    assert_eq!(log_dir.untrusted(), []);
    drop(log_dir);
    assert_eq!(disk.start().untrusted(), [], "nothing was acknowledged since");
}

#[test]
fn what_the_controller_does_not_know_yet_survives_further_stops() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(&caching());
    note(&mut log);
    append(&mut log, &batch(0, 2));
    drop(log);
    // Caching is off by now, and what is left is flushed before the controller is told.
    let (mut log, _) = disk.open(&config());
    flush(&mut log);
    log.log_dir.write_flush_points().unwrap();
    assert_eq!(log.log_dir.untrusted(), [key()]);
    close(log);
    let (log, _) = disk.open(&config());
    assert_eq!(
        log.log_dir.untrusted(),
        [key()],
        "a clean stop does not bring lost records back"
    );
    log.log_dir.distrust_is_known();
    log.log_dir.write_flush_points().unwrap();
    assert_eq!(untrusted_after_kill(&disk, log), []);
}

#[test]
fn that_a_log_is_short_survives_the_flush_that_hides_it() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(&config());
    append(&mut log, &batch(0, 2));
    let size = log.size();
    append(&mut log, &batch(1, 2));
    flush(&mut log);
    close(log);
    let segment = std::fs::File::options()
        .write(true)
        .open(disk.path("00000000000000000000.log"));
    segment.unwrap().set_len(size).unwrap();
    let (mut log, recovery) = disk.open(&config());
    assert!(recovery.short.is_some());
    log.log_dir.note_short([("topic-0".to_owned(), TOPIC_ID)]).unwrap();
    flush(&mut log);
    log.log_dir.write_flush_points().unwrap();
    drop(log);
    let (log, recovery) = disk.open(&config());
    assert_eq!(recovery.short, None, "the flush point says the same as the log");
    assert_eq!(log.log_dir.short(), [key()]);
    log.log_dir.distrust_is_known();
    log.log_dir.write_flush_points().unwrap();
    drop(log);
    assert_eq!(disk.start().short(), []);
}
