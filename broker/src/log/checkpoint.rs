//! Kafka's checkpoint files: a version, a count, a line per entry.

use std::io;
use std::path::Path;

use crate::log::error::LogError;

/// The text of a checkpoint file of version 0.
pub(super) fn format(lines: impl IntoIterator<Item = String>) -> String {
    let lines: Vec<String> = lines.into_iter().collect();
    let mut text = format!("0\n{}\n", lines.len());
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// Reads a checkpoint file. A missing or empty file has no entries; another version, another number of lines than
/// announced or a line that `entry` does not understand is an error.
pub(super) fn read<T>(path: &Path, entry: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, LogError> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, entry).map_err(|reason| LogError::Malformed {
            path: path.to_path_buf(),
            reason,
        }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(LogError::io("read", path, e)),
    }
}

fn parse<T>(text: &str, entry: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    let mut lines = text.lines();
    match lines.next() {
        None => return Ok(Vec::new()),
        Some("0") => {}
        Some(other) => return Err(format!("version {other:?} is unknown")),
    }
    let count = lines.next().unwrap_or_default();
    let count: usize = count.parse().map_err(|_| format!("{count:?} is no count"))?;
    let entries = lines
        .map(|line| entry(line).ok_or_else(|| format!("{line:?} is no entry")))
        .collect::<Result<Vec<T>, String>>()?;
    if entries.len() == count {
        Ok(entries)
    } else {
        Err(format!("{} entries where {count} are announced", entries.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_refuses_the_rest() {
        let number = |line: &str| line.parse::<u32>().ok();
        let text = format(["7".to_owned(), "9".to_owned()]);
        assert_eq!(text, "0\n2\n7\n9\n");
        assert_eq!(parse(&text, number), Ok(vec![7, 9]));
        assert_eq!(parse("", number), Ok(vec![]));
        for bad in ["1\n0\n", "0\n", "0\n1\n", "0\n1\n7\n9\n", "0\n1\nx\n"] {
            assert!(parse(bad, number).is_err(), "{bad:?}");
        }
    }
}
