//! That what operators are told to look at is there.

use std::collections::BTreeSet;

use crate::highwater::Highwater;

/// Names of metrics in the inline code of a page.
fn named(page: &str) -> BTreeSet<&str> {
    let code = page.split('`').skip(1).step_by(2);
    let is_name = |text: &&str| {
        ["kafka_", "highwater_", "process_"]
            .iter()
            .any(|start| text.starts_with(start))
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    code.filter(is_name).collect()
}

#[test]
fn every_metric_that_the_page_for_operators_names_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let highwater = Highwater::start(dir.path(), &["group.initial.rebalance.delay.ms=0"]);
    let mut client = highwater.connect();
    client.create("t");
    client.find_coordinator("g");
    assert_eq!(client.join("g").error_code, 0);
    assert_eq!(client.commit("g2", -1, "", "t", 0), 0);
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md")).unwrap();
    let named = named(&page);
    assert!(named.len() > 15, "{named:?}");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let metrics = highwater.http("/metrics");
        let served: BTreeSet<&str> = metrics
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        let is_served = |name: &&&str| served.contains(**name) || served.contains(name.trim_end_matches("_total"));
        let missing: Vec<_> = named.iter().filter(|name| !is_served(name)).collect();
        if missing.is_empty() {
            break;
        }
        // Lag is looked at now and then.
        assert!(std::time::Instant::now() < deadline, "not served: {missing:?}");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    highwater.stop();
}
