//! The queue of events for hooks: a directory with one file of JSON for each event, which survives a restart.
//!
//! A file is complete when it has its name, which ends with `.json`. Names sort by time. Whoever handles a file removes
//! it; `hooks` does, or a program of the administrator.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Maximum number of files in the directory.
const FILES_MAX: u64 = 10_000;

/// The mode of a file: only its owner may read it.
const FILE_MODE: u32 = 0o600;

/// The end of the name of a complete file.
pub const SUFFIX: &str = ".json";

/// A file that was uploaded completely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The time at which it got its name.
    pub time: Timestamp,
    /// The name of the session.
    pub session: String,
    /// The user.
    pub user: Vec<u8>,
    /// The virtual host.
    pub host: Option<String>,
    /// The address of the client.
    pub client: IpAddr,
    /// The verb: STOR, STOU or APPE.
    pub verb: &'static str,
    /// The path that the client sees.
    pub path: Vec<u8>,
    /// The path on this machine, if it is known.
    pub file: Option<PathBuf>,
    /// The number of bytes received.
    pub bytes: u64,
}

impl Stored {
    /// Returns the event as a line of JSON, with this name.
    #[must_use]
    pub fn line(&self, event: &str) -> String {
        let mut value = self.json();
        if let Some(name) = value.get_mut("event") {
            *name = json!(event);
        }
        value.to_string()
    }

    fn json(&self) -> Value {
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
        put("v", json!(1));
        put("event", json!("stored"));
        put("time", json!(self.time.to_string()));
        put("session", json!(self.session));
        put("user", json!(String::from_utf8_lossy(&self.user)));
        if let Some(host) = &self.host {
            put("host", json!(host));
        }
        put("client", json!(self.client.to_string()));
        put("verb", json!(self.verb));
        put("path", json!(String::from_utf8_lossy(&self.path)));
        if std::str::from_utf8(&self.path).is_err() {
            let digits: Vec<String> = self.path.iter().map(|byte| format!("{byte:02x}")).collect();
            put("path_hex", json!(digits.concat()));
        }
        if let Some(file) = self.file.as_ref().and_then(|file| file.to_str()) {
            put("file", json!(file));
        }
        put("bytes", json!(self.bytes));
        Value::Object(object)
    }
}

/// The directory of the queue.
#[derive(Debug)]
pub struct Spool {
    directory: PathBuf,
    /// The number of the next file of this process.
    next: AtomicU64,
    /// The number of files that surely fit, before they are counted again.
    room: AtomicU64,
}

impl Spool {
    /// Opens the directory, which must exist, and checks that files can be created in it.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let spool = Self {
            directory: directory.to_owned(),
            next: AtomicU64::new(0),
            room: AtomicU64::new(0),
        };
        let probe = spool.directory.join(format!(".new-{}-probe", std::process::id()));
        drop(create(&probe)?);
        fs::remove_file(&probe)?;
        Ok(spool)
    }

    /// Adds an event. With `is_flushed`, it survives a power failure when this returns.
    ///
    /// # Errors
    /// When the queue is full, or the file cannot be written.
    pub fn put(&self, stored: &Stored, is_flushed: bool) -> io::Result<()> {
        self.make_room()?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (time, process) = (stored.time.as_microsecond(), std::process::id());
        let name = format!("{time:016}-{process}-{number}");
        let new_path = self.directory.join(format!(".new-{name}"));
        let mut file = create(&new_path)?;
        let written = file.write_all(format!("{}\n", stored.json()).as_bytes());
        let written = written.and_then(|()| if is_flushed { file.sync_all() } else { Ok(()) });
        let path = self.directory.join(format!("{name}{SUFFIX}"));
        let placed = written.and_then(|()| fs::rename(&new_path, path));
        if placed.is_err() {
            let _removed = fs::remove_file(&new_path);
        } else if is_flushed {
            OpenOptions::new().read(true).open(&self.directory)?.sync_all()?;
        }
        placed
    }

    /// Counts the files when those that surely fit are used up.
    fn make_room(&self) -> io::Result<()> {
        let take = |room: u64| room.checked_sub(1);
        if self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            return Ok(());
        }
        let count = fs::read_dir(&self.directory)?.count() as u64;
        if count >= FILES_MAX {
            let full = format!("{FILES_MAX} events wait in {}", self.directory.display());
            return Err(io::Error::new(io::ErrorKind::StorageFull, full));
        }
        // Another process may add files, too, so they are counted again long before the maximum.
        self.room.store((FILES_MAX - count) / 10, Ordering::Relaxed);
        Ok(())
    }
}

fn create(path: &Path) -> io::Result<fs::File> {
    OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)
}

/// Returns the names of the complete files in a directory, the oldest first.
pub fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        names.extend(name.to_str().filter(|name| name.ends_with(SUFFIX)).map(str::to_owned));
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> Stored {
        Stored {
            time: Timestamp::UNIX_EPOCH,
            session: "a-1".to_owned(),
            user: b"bob".to_vec(),
            host: None,
            client: [192, 0, 2, 7].into(),
            verb: "STOR",
            path: b"/in/\xffa".to_vec(),
            file: Some("/srv/in".into()),
            bytes: 5,
        }
    }

    #[test]
    fn an_event_is_a_file_of_json_and_the_oldest_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path()).unwrap();
        let later = Stored { time: Timestamp::from_second(5).unwrap(), ..stored() };
        for event in [&later, &stored()] {
            spool.put(event, true).unwrap();
        }
        let names = names(folder.path()).unwrap();
        let text = fs::read_to_string(folder.path().join(&names[0])).unwrap();
        let expected = json!({
            "v": 1, "event": "stored", "time": "1970-01-01T00:00:00Z", "session": "a-1", "user": "bob",
            "client": "192.0.2.7", "verb": "STOR", "path": "/in/\u{fffd}a", "path_hex": "2f696e2fff61",
            "file": "/srv/in", "bytes": 5,
        });
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");
    }

    #[test]
    fn a_full_queue_refuses_and_is_not_full_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..FILES_MAX {
            fs::write(folder.path().join(format!("{number}{SUFFIX}")), "").unwrap();
        }
        let spool = Spool::open(folder.path()).unwrap();
        assert_eq!(spool.put(&stored(), false).unwrap_err().kind(), io::ErrorKind::StorageFull);
        fs::remove_file(folder.path().join(format!("0{SUFFIX}"))).unwrap();
        spool.put(&stored(), false).unwrap();
        assert!(Spool::open(&folder.path().join("none")).is_err());
    }
}
