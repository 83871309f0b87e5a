//! `DECOMMISSIONED` in a data directory: the broker that had it was unregistered. Should the disk be used again, what is
//! on it counts for nothing, and the broker is a new one.

use std::fs::{self, File};
use std::io::{self, Read as _};

use highwater_proto::types::{BrokerEpoch, NodeId};

use super::{DataDir, DataDirError, MAX_FILE_BYTES, MetaProperties, SEEN_FILE, io_error, new_directory_id};
use crate::config::parse_properties;

const MARKER_FILE: &str = "DECOMMISSIONED";

/// Who was unregistered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decommissioned {
    /// The node.
    pub node_id: NodeId,
    /// Its registration.
    pub epoch: BrokerEpoch,
    /// The pod that it ran in (`pod.uid`).
    pub pod_uid: Option<String>,
}

impl DataDir {
    /// Marks the directory; on disk when this answers.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub fn write_decommissioned(&self, mark: &Decommissioned) -> Result<(), DataDirError> {
        let mut text = format!("version=1\nnode.id={}\nepoch={}\n", mark.node_id, mark.epoch);
        if let Some(uid) = &mark.pod_uid {
            text.push_str(&format!("pod.uid={uid}\n"));
        }
        self.write_file(MARKER_FILE, text.as_bytes())
    }

    /// Who was unregistered with this directory, if anybody was.
    ///
    /// # Errors
    /// When the mark cannot be read: nobody knows then whether what is here counts.
    pub fn decommissioned(&self) -> Result<Option<Decommissioned>, DataDirError> {
        let path = self.path.join(MARKER_FILE);
        let mut text = String::new();
        match File::open(&path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("read", &path)(error)),
        }
        let mark = parse(&text).ok_or_else(|| {
            let reason = "it is not what Highwater writes there".to_owned();
            DataDirError::Mark { path, reason }
        });
        mark.map(Some)
    }

    /// Makes it the directory of a new broker: another id, of no cluster and no node, and the mark goes last. To be
    /// called when nothing of the old one is left in it; a call that was cut off is repeated.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub fn begin_anew(&self) -> Result<(), DataDirError> {
        self.write_identity(&MetaProperties {
            cluster_id: None,
            node_id: None,
            directory_id: new_directory_id(),
        })?;
        for name in [SEEN_FILE, MARKER_FILE] {
            let path = self.path.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error("remove", &path)(error)),
                _ => self.sync_directory()?,
            }
        }
        Ok(())
    }
}

fn parse(text: &str) -> Option<Decommissioned> {
    let properties = parse_properties(text).ok()?;
    let value = |key: &str| {
        properties
            .iter()
            .find(|property| property.key == key)
            .map(|p| &*p.value)
    };
    if value("version") != Some("1") {
        return None;
    }
    Some(Decommissioned {
        node_id: NodeId(value("node.id")?.parse().ok()?),
        epoch: BrokerEpoch(value("epoch")?.parse().ok()?),
        pod_uid: value("pod.uid").filter(|uid| !uid.is_empty()).map(ToOwned::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use highwater_proto::types::Revision;

    use super::*;

    #[test]
    fn a_marked_directory_becomes_that_of_a_new_broker() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::open(folder.path()).unwrap();
        assert_eq!(dir.decommissioned().unwrap(), None);
        let old = MetaProperties {
            cluster_id: Some("c".to_owned()),
            node_id: Some(NodeId(4)),
            ..dir.identity(None).unwrap()
        };
        dir.write_identity(&old).unwrap();
        dir.write_seen((1, Revision(90))).unwrap();
        for pod_uid in [None, Some("7e1d-22".to_owned())] {
            let mark = Decommissioned {
                node_id: NodeId(4),
                epoch: BrokerEpoch(70),
                pod_uid,
            };
            dir.write_decommissioned(&mark).unwrap();
            assert_eq!(dir.decommissioned().unwrap(), Some(mark));
        }
        dir.begin_anew().unwrap();
        assert_eq!(dir.decommissioned().unwrap(), None);
        let new = dir.identity(None).unwrap();
        assert_eq!((&new.cluster_id, new.node_id), (&None, None));
        assert_ne!(new.directory_id, old.directory_id);
        assert_eq!(dir.seen(), (0, Revision(0)), "what the old cluster was at says nothing");
        dir.begin_anew().unwrap();
    }

    #[test]
    fn a_mark_that_cannot_be_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::open(folder.path()).unwrap();
        for text in ["", "version=2\nnode.id=1\nepoch=2\n", "version=1\nnode.id=x\nepoch=2\n"] {
            fs::write(folder.path().join(MARKER_FILE), text).unwrap();
            let error = dir.decommissioned().unwrap_err().to_string();
            assert!(error.contains(MARKER_FILE), "{error}");
        }
    }
}
