//! `replication-offset-checkpoint`: the high watermarks, in Kafka's format. What it says may be old, never wrong: a high
//! watermark only grows, and the log's ends bound it.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::path::Path;

use highwater_proto::types::PartitionIndex;

const FILE: &str = "replication-offset-checkpoint";

/// The high watermarks of the last process; none if the file is not there or damaged.
pub(super) fn read(root: &Path) -> HashMap<(String, PartitionIndex), i64> {
    match std::fs::read_to_string(root.join(FILE)) {
        Ok(text) => parse(&text).unwrap_or_else(|| {
            tracing::warn!(
                file = FILE,
                "checkpoint is damaged; high watermarks begin at the log starts"
            );
            HashMap::new()
        }),
        Err(_) => HashMap::new(),
    }
}

fn parse(text: &str) -> Option<HashMap<(String, PartitionIndex), i64>> {
    let mut lines = text.lines();
    if lines.next() != Some("0") {
        return None;
    }
    let count: usize = lines.next()?.parse().ok()?;
    let mut entries = HashMap::new();
    for line in lines {
        let mut fields = line.split(' ');
        let (topic, partition, offset) = (fields.next()?, fields.next()?, fields.next()?);
        entries.insert(
            (topic.to_owned(), PartitionIndex(partition.parse().ok()?)),
            offset.parse().ok()?,
        );
    }
    (entries.len() == count).then_some(entries)
}

/// Replaces the file as a whole.
pub(super) fn write(root: &Path, entries: &[(String, PartitionIndex, i64)]) -> io::Result<()> {
    let mut text = format!("0\n{}\n", entries.len());
    for (topic, partition, offset) in entries {
        text.push_str(&format!("{topic} {partition} {offset}\n"));
    }
    let aside = root.join(format!("{FILE}.tmp"));
    let mut file = std::fs::File::create(&aside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&aside, root.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_nothing_damaged() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path()).is_empty());
        write(
            dir.path(),
            &[("a".into(), PartitionIndex(0), 7), ("b-c".into(), PartitionIndex(3), 9)],
        )
        .unwrap();
        let entries = read(dir.path());
        assert_eq!(entries[&("b-c".to_owned(), PartitionIndex(3))], 9);
        assert_eq!(entries.len(), 2);
        for damaged in ["", "1\n0\n", "0\n2\na 0 7\n", "0\n1\na 0\n", "0\n1\na x 7\n"] {
            assert!(parse(damaged).is_none(), "{damaged:?}");
        }
    }
}
