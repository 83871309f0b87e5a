//! Nothing that a client does with its socket stops the broker from serving others, or makes it take memory without
//! bound.

use highwater_e2e::broker::{Broker, Highwater, is_kafka};
use highwater_e2e::raw::{Producer, Raw, batch, encode, text};
use kafka_protocol::messages::{ApiVersionsRequest, FetchRequest};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Raises the limit of open files to what is allowed, for this process and so for the broker it starts.
fn allow_open_files(needed: u64) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    assert!(
        maximum.is_none_or(|m| m >= needed),
        "this test needs {needed} open files: raise the hard limit (ulimit -Hn)"
    );
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )
    .expect("a limit up to the hard one");
}

#[test]
fn the_limit_of_open_files_is_raised_and_said() {
    assert!(!is_kafka(), "a promise of Highwater alone");
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(1 << 30);
    // As many systems start processes; the broker inherits it.
    let soft = Rlimit {
        current: Some(hard.min(1_024)),
        ..limit
    };
    setrlimit(Resource::Nofile, soft).expect("a limit below the hard one");
    let mut highwater = Highwater::new();
    highwater.start();
    setrlimit(Resource::Nofile, limit).expect("what it was");
    let log = highwater.log();
    let line = log.lines().find(|line| line.contains("what may be open at a time"));
    let line = line.unwrap_or_else(|| panic!("not a word of it:\n{log}"));
    assert!(line.contains(&hard.to_string()), "{hard} is allowed: {line}");
}

fn start() -> Broker {
    let broker = Broker::start(&[]);
    broker.raw().create("t", 1, &[]).expect("create");
    broker
}

/// Memory of the broker in KiB; 0 where it is not Highwater.
fn rss(broker: &Broker) -> u64 {
    let Broker::Highwater(highwater) = broker else { return 0 };
    rss_of(highwater)
}

fn rss_of(highwater: &Highwater) -> u64 {
    let pid = highwater.pid().as_raw_nonzero();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// A client on a new connection gets a record acknowledged and back, soon.
fn serves(broker: &Broker) {
    let began = Instant::now();
    let mut raw = broker.raw();
    let (code, offset) = raw
        .produce("t", 0, batch(&[(None, "v")], Producer::NONE))
        .expect("an answer");
    assert_eq!(code, 0);
    assert!(!raw.fetch("t", 0, offset).expect("the record").is_empty());
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "served in {:?}",
        began.elapsed()
    );
}

fn connect(broker: &Broker) -> TcpStream {
    TcpStream::connect(broker.bootstrap()).expect("a connection")
}

#[test]
fn slow_senders_hold_nobody_up() {
    let broker = start();
    let before = rss(&broker);
    let frame = encode(
        3,
        1,
        &ApiVersionsRequest::default().with_client_software_name(text("slow")),
    )
    .expect("a frame");
    let mut slow: Vec<TcpStream> = (0..500).map(|_| connect(&broker)).collect();
    for byte in &frame[..frame.len() - 1] {
        for socket in &mut slow {
            socket.write_all(&[*byte]).expect("it is not cut off");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    serves(&broker);
    // The last byte makes each of them a request like any other.
    for socket in &mut slow {
        socket.write_all(&frame[frame.len() - 1..]).expect("it is not cut off");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
        socket.read_exact(&mut [0; 8]).expect("an answer");
    }
    let after = rss(&broker);
    assert!(
        after < before + 100 * 1024,
        "500 slow connections took {} KiB",
        after - before
    );
}

#[test]
fn announced_bytes_take_no_memory_before_they_come() {
    let broker = start();
    let before = rss(&broker);
    // Each announces the largest frame that is allowed (socket.request.max.bytes) and sends the start of a Produce.
    let mut sockets: Vec<TcpStream> = (0..400).map(|_| connect(&broker)).collect();
    for socket in &mut sockets {
        let mut start = 104_857_600_i32.to_be_bytes().to_vec();
        start.extend([0, 0, 0, 9, 0, 0, 0, 1, 255, 255, 0]);
        socket.write_all(&start).expect("it is not cut off");
    }
    // All of it is read.
    std::thread::sleep(Duration::from_millis(100));
    serves(&broker);
    let after = rss(&broker);
    assert!(
        after < before + 200 * 1024,
        "40 GB announced took {} KiB",
        after - before
    );
}

#[test]
fn readers_that_do_not_read_take_bounded_memory() {
    let broker = start();
    let mut raw = broker.raw();
    let value = "x".repeat(900_000);
    for _ in 0..20 {
        let (code, _) = raw
            .produce("t", 0, batch(&[(None, &value)], Producer::NONE))
            .expect("an answer");
        assert_eq!(code, 0);
    }
    let before = rss(&broker);
    let mut request: FetchRequest = highwater_e2e::raw::fetch_request("t", 0, 0);
    request.max_bytes = 50 << 20;
    request.topics[0].partitions[0].partition_max_bytes = 50 << 20;
    let frame = encode(11, 1, &request).expect("a frame");
    let mut sockets: Vec<TcpStream> = (0..50).map(|_| connect(&broker)).collect();
    for socket in &mut sockets {
        // Twenty answers of 18 MB wait for each of them.
        for _ in 0..20 {
            socket.write_all(&frame).expect("requests are read");
        }
    }
    // All answers that fit anywhere are made.
    std::thread::sleep(Duration::from_millis(500));
    serves(&broker);
    let after = rss(&broker);
    assert!(
        after < before + 400 * 1024,
        "18 GB asked for took {} KiB",
        after - before
    );
}

#[test]
fn ten_thousand_connections_are_served() {
    allow_open_files(11_000);
    let broker = start();
    let before = rss(&broker);
    let mut all: Vec<Raw> = Vec::with_capacity(10_000);
    for i in 0..10_000 {
        let mut raw = Raw::connect(&broker.bootstrap()).unwrap_or_else(|e| panic!("connection {i}: {e}"));
        assert_eq!(raw.brokers().unwrap_or_else(|e| panic!("connection {i}: {e}")), 1);
        all.push(raw);
    }
    serves(&broker);
    let each = (rss(&broker).saturating_sub(before)) / 10_000;
    assert!(each <= 64, "a connection takes {each} KiB");
    // All of them are still there.
    for raw in all.iter_mut().step_by(97) {
        assert_eq!(raw.brokers().expect("an answer"), 1);
    }
    drop(all);
    serves(&broker);
}

#[test]
fn garbage_closes_its_own_connection_only() {
    let broker = start();
    let mut garbage = vec![0_u8; 4096];
    for seed in 0..300_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for byte in &mut garbage {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (state >> 33) as u8;
        }
        // Half of them with a length that fits and an api key that exists.
        if seed % 2 == 0 {
            garbage[..4].copy_from_slice(&4092_i32.to_be_bytes());
            garbage[4] = 0;
            garbage[5] = (seed % 76) as u8;
            garbage[6] = 0;
            garbage[7] = (seed % 12) as u8;
        }
        let mut socket = connect(&broker);
        let _ = socket.write_all(&garbage);
    }
    serves(&broker);
    if let Broker::Highwater(highwater) = &broker {
        assert!(
            !highwater.log().contains("panicked"),
            "nothing a client sends may panic"
        );
    }
}

#[test]
fn idle_it_is_small_and_it_starts_soon() {
    assert!(!is_kafka(), "a promise of Highwater alone");
    let mut highwater = Highwater::new();
    let began = Instant::now();
    highwater.start();
    let ready = began.elapsed();
    // The promise is of what is released: a debug build is larger and slower.
    let debug = Highwater::binary().parent().is_some_and(|dir| dir.ends_with("debug"));
    let limit = Duration::from_secs(if debug { 3 } else { 1 });
    assert!(ready < limit, "the first answer came after {ready:?}");
    // What the start took is given back.
    std::thread::sleep(Duration::from_millis(500));
    let idle = rss_of(&highwater);
    assert!(idle <= 48 * 1024, "idle it takes {idle} KiB");
}
