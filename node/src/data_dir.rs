//! The data directory of a process: its lock, and the identity in `meta.properties`. The mark of a clean stop belongs to
//! the logs.

mod decommissioned;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use highwater_proto::types::{NodeId, Revision};
use rustix::fs::{FlockOperation, flock, statvfs};
use uuid::Uuid;

use crate::config::parse_properties;

pub use decommissioned::Decommissioned;

/// Not `.lock`: that one belongs to the logs, which keep it for themselves.
const LOCK_FILE: &str = ".process.lock";
const META_FILE: &str = "meta.properties";
/// The newest metadata that was seen.
const SEEN_FILE: &str = "metadata-seen.properties";
/// Largest of these files that is read, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// A locked data directory. The lock goes with the value, or with the process, however that ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

/// Whose directory it is (Kafka's `meta.properties`, version 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    /// The cluster; `None` until the first registration.
    pub cluster_id: Option<String>,
    /// The node; `None` until the first registration.
    pub node_id: Option<NodeId>,
    /// A random id that a directory keeps for its life: an emptied or exchanged disk has another.
    pub directory_id: Uuid,
}

/// Free and total bytes of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes that this process may still write.
    pub free_bytes: u64,
    /// Size of the file system.
    pub total_bytes: u64,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error("the data directory {} is in use by {holder}", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process, as far as it is known.
        holder: String,
    },
    /// It belongs to another node.
    #[error("the data directory {} belongs to node {owner}, but node.id is {configured}", path.display())]
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: NodeId,
        /// As it was configured.
        configured: NodeId,
    },
    /// `meta.properties` is not what a data directory has.
    #[error("{} in the data directory {}: {reason}", META_FILE, path.display())]
    Meta {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The mark of an unregistered broker is damaged.
    #[error("{}: {reason}; remove it if the broker is to go on with what is here", path.display())]
    Mark {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file system failed.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What came of it.
        error: io::Error,
    },
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |error| DataDirError::Io { action, path, error }
}

impl DataDir {
    /// Creates the directory where it is missing, and locks it.
    ///
    /// # Errors
    /// When another process has it, or the disk cannot be written.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        fs::create_dir_all(path).map_err(io_error("create directory", path))?;
        let path = path.canonicalize().map_err(io_error("find directory", path))?;
        let lock_path = path.join(LOCK_FILE);
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&lock_path)
            .map_err(io_error("open", &lock_path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(DataDirError::InUse {
                    path,
                    holder: holder(&mut lock),
                });
            }
            Err(error) => return Err(io_error("lock", &lock_path)(error.into())),
        }
        // Only a hint for the message above: the kernel keeps the lock, not the file's text.
        let text = format!("{}\n", std::process::id());
        lock.set_len(0)
            .and_then(|()| lock.write_all(text.as_bytes()))
            .map_err(io_error("write", &lock_path))?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is, as an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose it is. A new directory gets its id, on disk, before this answers: so a start that is cut off is the same
    /// directory the next time.
    ///
    /// # Errors
    /// When it belongs to another node than the configured one, or `meta.properties` cannot be read or written.
    pub fn identity(&self, configured: Option<NodeId>) -> Result<MetaProperties, DataDirError> {
        let meta = match self.read_meta()? {
            Some(meta) => meta,
            None => {
                let meta = MetaProperties {
                    cluster_id: None,
                    node_id: None,
                    directory_id: new_directory_id(),
                };
                self.write_identity(&meta)?;
                meta
            }
        };
        match (meta.node_id, configured) {
            (Some(owner), Some(configured)) if owner != configured => Err(DataDirError::OtherNode {
                path: self.path.clone(),
                owner,
                configured,
            }),
            _ => Ok(meta),
        }
    }

    /// Writes down whose it is: the whole file or nothing, on disk when this answers.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub fn write_identity(&self, meta: &MetaProperties) -> Result<(), DataDirError> {
        self.write_file(META_FILE, meta.render().as_bytes())
    }

    /// Generation and revision of the newest metadata that was noted here. A file that cannot be read counts as none: it
    /// only helps to notice a metadata store that was restored from a backup.
    #[must_use]
    pub fn seen(&self) -> (i64, Revision) {
        let path = self.path.join(SEEN_FILE);
        let mut text = String::new();
        match File::open(&path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text)) {
            Ok(_) => parse_seen(&text).unwrap_or_else(|| {
                tracing::warn!(path = %path.display(), "not readable, and ignored");
                Default::default()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Default::default(),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "not readable, and ignored");
                Default::default()
            }
        }
    }

    /// Notes the newest metadata that was seen.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub fn write_seen(&self, (generation, revision): (i64, Revision)) -> Result<(), DataDirError> {
        let text = format!("generation={generation}\nrevision={revision}\n");
        self.write_file(SEEN_FILE, text.as_bytes())
    }

    /// Free and total bytes of the disk it is on.
    ///
    /// # Errors
    /// When the file system does not tell.
    pub fn space(&self) -> Result<DiskSpace, DataDirError> {
        let stat = statvfs(&self.path).map_err(|error| io_error("look at", &self.path)(error.into()))?;
        Ok(DiskSpace {
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }

    fn read_meta(&self) -> Result<Option<MetaProperties>, DataDirError> {
        let path = self.path.join(META_FILE);
        let mut text = String::new();
        match File::open(&path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("read", &path)(error)),
        }
        let parsed = MetaProperties::parse(&text);
        parsed.map(Some).map_err(|reason| DataDirError::Meta {
            path: self.path.clone(),
            reason,
        })
    }

    /// Written aside, synced, renamed, directory synced.
    fn write_file(&self, name: &str, content: &[u8]) -> Result<(), DataDirError> {
        let aside = self.path.join(format!("{name}.tmp"));
        let path = self.path.join(name);
        let write = || {
            let mut file = File::create(&aside)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&aside, &path)
        };
        write().map_err(io_error("write", &path))?;
        self.sync_directory()
    }

    fn sync_directory(&self) -> Result<(), DataDirError> {
        let sync = || File::open(&self.path)?.sync_all();
        sync().map_err(io_error("sync directory", &self.path))
    }
}

fn parse_seen(text: &str) -> Option<(i64, Revision)> {
    let properties = parse_properties(text).ok()?;
    let value = |key: &str| {
        properties
            .iter()
            .find(|property| property.key == key)?
            .value
            .parse()
            .ok()
    };
    Some((value("generation")?, Revision(value("revision")?)))
}

impl MetaProperties {
    fn render(&self) -> String {
        let mut text = "version=1\n".to_owned();
        if let Some(cluster_id) = &self.cluster_id {
            text.push_str(&format!("cluster.id={cluster_id}\n"));
        }
        if let Some(node_id) = self.node_id {
            text.push_str(&format!("node.id={node_id}\n"));
        }
        text.push_str(&format!("directory.id={}\n", encode_id(self.directory_id)));
        text
    }

    fn parse(text: &str) -> Result<Self, String> {
        let properties = parse_properties(text).map_err(|error| error.to_string())?;
        let value = |key: &str| {
            properties
                .iter()
                .find(|property| property.key == key)
                .map(|p| p.value.as_str())
        };
        match value("version") {
            Some("1") => {}
            Some(version) => return Err(format!("version {version} is not known")),
            None => return Err("the version is missing".to_owned()),
        }
        let node_id = match value("node.id") {
            None => None,
            Some(text) => Some(NodeId(text.parse().map_err(|_| format!("{text:?} is not a node id"))?)),
        };
        let directory_id = value("directory.id").ok_or("the directory id is missing")?;
        Ok(Self {
            cluster_id: value("cluster.id").filter(|id| !id.is_empty()).map(ToOwned::to_owned),
            node_id,
            directory_id: decode_id(directory_id).ok_or(format!("{directory_id:?} is not a directory id"))?,
        })
    }
}

/// The process that holds the lock, as it wrote itself down.
fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    let read = lock.rewind().and_then(|()| lock.take(32).read_to_string(&mut text));
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!("process {pid}"),
        _ => "another process".to_owned(),
    }
}

/// Random, and none of those that begin with a dash in text form, which command lines take for an option.
fn new_directory_id() -> Uuid {
    loop {
        let id = Uuid::new_v4();
        if !encode_id(id).starts_with('-') {
            return id;
        }
    }
}

/// Kafka's text form of ids.
fn encode_id(id: Uuid) -> String {
    URL_SAFE_NO_PAD.encode(id.as_bytes())
}

fn decode_id(text: &str) -> Option<Uuid> {
    Uuid::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?)
        .ok()
        .filter(|id| !id.is_nil())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(directory: &tempfile::TempDir) -> DataDir {
        DataDir::open(&directory.path().join("data")).unwrap()
    }

    #[test]
    fn what_was_seen_of_the_metadata_is_kept_and_a_damaged_note_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::open(folder.path()).unwrap();
        assert_eq!(dir.seen(), (0, Revision(0)));
        dir.write_seen((2, Revision(70))).unwrap();
        assert_eq!(dir.seen(), (2, Revision(70)));
        drop(dir);
        assert_eq!(DataDir::open(folder.path()).unwrap().seen(), (2, Revision(70)));
        fs::write(folder.path().join(SEEN_FILE), "generation=2\nrevision=x\n").unwrap();
        assert_eq!(DataDir::open(folder.path()).unwrap().seen(), (0, Revision(0)));
    }

    #[test]
    fn a_second_user_is_refused_and_told_who_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let first = open(&directory);
        let error = DataDir::open(first.path()).unwrap_err().to_string();
        assert!(
            error.contains("data") && error.contains(&format!("process {}", std::process::id())),
            "{error}"
        );
        let path = first.path().to_owned();
        drop(first);
        assert!(DataDir::open(&path).is_ok());
    }

    #[test]
    fn a_directory_keeps_its_id_from_the_first_start_on() {
        let directory = tempfile::tempdir().unwrap();
        let new = open(&directory).identity(None).unwrap();
        assert_eq!((&new.cluster_id, new.node_id), (&None, None));
        let data = open(&directory);
        assert_eq!(
            data.identity(Some(NodeId(4))).unwrap(),
            new,
            "a start that was cut off changes nothing"
        );
        let registered = MetaProperties {
            cluster_id: Some("c".to_owned()),
            node_id: Some(NodeId(4)),
            directory_id: new.directory_id,
        };
        data.write_identity(&registered).unwrap();
        drop(data);
        assert_eq!(open(&directory).identity(None).unwrap(), registered);
    }

    #[test]
    fn the_directory_of_another_node_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let data = open(&directory);
        let mut meta = data.identity(None).unwrap();
        meta.node_id = Some(NodeId(4));
        data.write_identity(&meta).unwrap();
        let error = data.identity(Some(NodeId(5))).unwrap_err().to_string();
        assert!(
            error.contains("belongs to node 4") && error.contains("node.id is 5"),
            "{error}"
        );
    }

    #[test]
    fn the_file_is_apache_kafkas() {
        let text = "#\n#Mon Nov 23 20:00:00 UTC 2026\ncluster.id=M0VlOXyZQ4mDOjSWzXcFhg\ndirectory.id=4P2dAVY0vTKGWq9DPkvYOQ\nnode.id=1\nversion=1\n";
        let meta = MetaProperties::parse(text).unwrap();
        assert_eq!(meta.cluster_id.as_deref(), Some("M0VlOXyZQ4mDOjSWzXcFhg"));
        assert_eq!(
            (meta.node_id, encode_id(meta.directory_id).as_str()),
            (Some(NodeId(1)), "4P2dAVY0vTKGWq9DPkvYOQ")
        );
        assert_eq!(MetaProperties::parse(&meta.render()).unwrap(), meta);
        for broken in [
            "",
            "version=2",
            "version=1",
            "version=1\ndirectory.id=x",
            "version=1\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert!(MetaProperties::parse(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_a_clear_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = DataDir::open(&file.path().join("data")).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot create directory") && error.contains("data"),
            "{error}"
        );
    }

    #[test]
    fn the_disk_tells_its_space() {
        let directory = tempfile::tempdir().unwrap();
        let space = open(&directory).space().unwrap();
        assert!(space.total_bytes > 0 && space.free_bytes <= space.total_bytes);
    }
}
