//! The files of a process: where they are, who may have them, and what a driver is asked to do with them.
//!
//! How they are made durable is the driver's: see its `disk`.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use whimbrel_core::action;
use whimbrel_core::config::Config;
use whimbrel_core::ids::Ticket;

use crate::failure::words;
use crate::machine::Which;

/// The disk as the event loop sees it: requests go out, results come back in the same order.
///
/// Whoever has a result to give wakes the loop.
pub trait Disk {
    /// Takes a request; nothing is waited for.
    fn ask(&mut self, job: Job);

    /// The next result that has come.
    fn result(&mut self) -> Option<Ended>;
}

/// A request.
#[derive(Debug)]
pub struct Job {
    /// Whose.
    pub which: Which,
    /// Its name.
    pub ticket: Ticket,
    /// The file that it is about.
    pub file: action::File,
    /// What to do with it.
    pub work: Work,
}

/// What to do with a file.
#[derive(Debug)]
pub enum Work {
    /// Replace it: whoever looks, even after a power cut, sees the old content or the new.
    Replace {
        /// The new content.
        bytes: Bytes,
        /// Whether it shall be the new one after a power cut, from the result on.
        fsync: bool,
    },
    /// Read it.
    Read,
}

/// How a request ended.
#[derive(Debug)]
pub struct Ended {
    /// Whose it was.
    pub which: Which,
    /// Its name.
    pub ticket: Ticket,
    /// What came of it.
    pub outcome: Outcome,
}

/// What a request was for and what came of it, or what the operating system said.
#[derive(Debug)]
pub enum Outcome {
    /// The file was replaced.
    Replaced(Result<(), String>),
    /// This was in the file.
    Read(Result<String, String>),
}

/// Where the files of a process are.
#[derive(Debug, Default)]
pub struct Places {
    /// `cluster-config-file`, locked, outside of cluster mode none.
    pub nodes_conf: Option<Locked>,
    /// The configuration file, if there is one.
    pub config: Option<PathBuf>,
    /// `aclfile`, if there is one.
    pub users: Option<PathBuf>,
}

impl Places {
    /// Where they are by this configuration.
    #[must_use]
    pub fn new(config: &Config, nodes_conf: Option<Locked>) -> Self {
        Self {
            nodes_conf,
            config: (!config.config_file.is_empty()).then(|| PathBuf::from(&config.config_file)),
            users: (!config.aclfile.is_empty()).then(|| Path::new(&config.dir).join(&config.aclfile)),
        }
    }

    /// Where this one is.
    ///
    /// # Errors
    /// When the process has no such file.
    pub fn path(&self, file: action::File) -> io::Result<&Path> {
        let path = match file {
            action::File::NodesConf => self.nodes_conf.as_ref().map(|locked| locked.path.as_path()),
            action::File::Config => self.config.as_deref(),
            action::File::Users => self.users.as_deref(),
        };
        path.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "The server has no such file"))
    }
}

/// The folder in which a file lies.
#[must_use]
pub fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The name under which the new content of a file is written before it gets the file's own.
#[must_use]
pub fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

/// Opens the [`temporary`] of a file, empty, with the permissions of that file, and locked if that is.
///
/// # Errors
/// What the operating system says.
pub fn open_temporary(temporary: &Path, path: &Path, lock: bool) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(temporary)?;
    if lock {
        file.try_lock().map_err(io::Error::from)?;
    }
    if let Ok(old) = fs::metadata(path) {
        file.set_permissions(old.permissions())?;
    }
    Ok(file)
}

/// A file that one process at a time may have, and that is replaced without ever being free.
#[derive(Debug)]
pub struct Locked {
    path: PathBuf,
    /// Held for its lock.
    file: File,
}

impl Locked {
    /// Takes the file, creating it if need be; its content.
    ///
    /// # Errors
    /// When another process has it, or it cannot be had: the line to say so with.
    pub fn take(path: &Path) -> Result<(Self, Vec<u8>), String> {
        let shown = path.display();
        let cannot = |e: &io::Error| format!("Can't open {shown} in order to acquire a lock: {}", words(e));
        let mut file = loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)
                .map_err(|e| cannot(&e))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(format!(
                        "Sorry, the cluster configuration file {shown} is already used by a different cluster \
                         node. Please make sure that different nodes use different cluster configuration files."
                    ));
                }
                Err(TryLockError::Error(e)) => return Err(cannot(&e)),
            }
            // Its owner may have replaced it between the two steps: what is locked then is the old file.
            if fs::metadata(path).is_ok_and(|now| file.metadata().is_ok_and(|ours| same_file(&now, &ours))) {
                break file;
            }
        };
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(|e| cannot(&e))?;
        Ok((Self { path: path.to_owned(), file }, content))
    }

    /// The name means this file now: it is to be locked already, so that the name was never free.
    pub fn renamed(&mut self, file: File) {
        self.file = file;
    }
}

fn same_file(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}
