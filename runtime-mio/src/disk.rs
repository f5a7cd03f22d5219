//! The one thread that writes and reads files: what it has said is written survives a power cut.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use mio::Waker;
use whimbrel_core::action;
use whimbrel_core::ids::Ticket;

use crate::listen::words;
use crate::machine::Which;

struct Job {
    which: Which,
    ticket: Ticket,
    file: action::File,
    work: Work,
}

enum Work {
    Replace { bytes: Bytes, fsync: bool },
    Read,
}

/// How a request ended.
pub(crate) struct Ended {
    pub(crate) which: Which,
    pub(crate) ticket: Ticket,
    pub(crate) outcome: Outcome,
}

/// What a request was for and what came of it, or what the operating system said.
pub(crate) enum Outcome {
    Replaced(Result<(), String>),
    Read(Result<String, String>),
}

/// The disk as the event loop sees it: requests go out, results come back in the same order.
pub(crate) struct Disk {
    requests: Option<Sender<Job>>,
    results: Receiver<Ended>,
    /// Requests without a result so far.
    open: usize,
    thread: Option<JoinHandle<()>>,
}

/// Where the files of a process are.
pub(crate) struct Places {
    /// `cluster-config-file`, locked, outside of cluster mode none.
    pub(crate) nodes_conf: Option<Locked>,
    /// The configuration file, if there is one.
    pub(crate) config: Option<PathBuf>,
    /// `aclfile`, if there is one.
    pub(crate) users: Option<PathBuf>,
}

/// A file that one process at a time may have, and that is replaced without ever being free.
pub(crate) struct Locked {
    path: PathBuf,
    /// Held for its lock.
    file: File,
}

impl Locked {
    /// Takes the file, creating it if need be; its content.
    pub(crate) fn take(path: &Path) -> Result<(Self, Vec<u8>), String> {
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

    /// Replaces the content, then makes the new name last.
    fn replace(&mut self, bytes: &[u8], flush: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        // From here on the name means the new file, whatever becomes of the folder: its lock is what counts.
        self.file = replace(&self.path, bytes, true)?;
        flush(&self.path)
    }
}

fn same_file(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

impl Disk {
    /// Starts the thread. `waker` is woken for every result.
    pub(crate) fn start(places: Places, waker: Arc<Waker>) -> io::Result<Self> {
        let (requests, jobs) = mpsc::channel::<Job>();
        let (done, results) = mpsc::channel();
        let thread = thread::Builder::new().name("disk".into()).spawn(move || {
            let mut places = places;
            for Job { which, ticket, file, work } in jobs {
                let outcome = match work {
                    Work::Replace { bytes, fsync } => {
                        Outcome::Replaced(places.write(file, &bytes, fsync).map_err(|e| words(&e)))
                    }
                    Work::Read => Outcome::Read(places.read(file).map_err(|e| words(&e))),
                };
                if done.send(Ended { which, ticket, outcome }).is_err() {
                    return;
                }
                let _ = waker.wake();
            }
        })?;
        Ok(Self { requests: Some(requests), results, open: 0, thread: Some(thread) })
    }

    /// Asks for a file to be replaced.
    pub(crate) fn write(
        &mut self,
        which: Which,
        ticket: Ticket,
        file: action::File,
        bytes: Bytes,
        fsync: bool,
    ) {
        self.ask(Job { which, ticket, file, work: Work::Replace { bytes, fsync } });
    }

    /// Asks for a file to be read, after all that was asked for before.
    pub(crate) fn read(&mut self, which: Which, ticket: Ticket, file: action::File) {
        self.ask(Job { which, ticket, file, work: Work::Read });
    }

    fn ask(&mut self, job: Job) {
        let Some(requests) = &self.requests else { return };
        // The thread ends only when this end hangs up.
        if requests.send(job).is_ok() {
            self.open += 1;
        }
    }

    /// Whether results are still to come.
    pub(crate) fn is_busy(&self) -> bool {
        self.open > 0
    }

    /// The next result that has come.
    pub(crate) fn result(&mut self) -> Option<Ended> {
        let result = self.results.try_recv().ok();
        self.open -= usize::from(result.is_some());
        result
    }

    /// The next result, when it comes.
    pub(crate) fn wait(&mut self) -> Option<Ended> {
        let result = self.results.recv().ok();
        self.open -= 1;
        result
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What was asked for is written before the process ends.
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn nowhere() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "The server has no such file")
}

impl Places {
    fn read(&self, file: action::File) -> io::Result<String> {
        let path = match file {
            action::File::NodesConf => self.nodes_conf.as_ref().map(|locked| locked.path.as_path()),
            action::File::Config => self.config.as_deref(),
            action::File::Users => self.users.as_deref(),
        };
        fs::read_to_string(path.ok_or_else(nowhere)?)
    }

    fn write(&mut self, file: action::File, bytes: &[u8], fsync: bool) -> io::Result<()> {
        match file {
            action::File::NodesConf => {
                let locked = self.nodes_conf.as_mut().ok_or_else(nowhere)?;
                locked.replace(bytes, |path| if fsync { flush_folder(path) } else { Ok(()) })
            }
            action::File::Config | action::File::Users => {
                let place = if file == action::File::Config { &self.config } else { &self.users };
                let path = place.as_deref().ok_or_else(nowhere)?;
                replace(path, bytes, false)?;
                if fsync { flush_folder(path) } else { Ok(()) }
            }
        }
    }
}

/// Makes it last that a name in the folder of `path` means another file now.
fn flush_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Replaces a file as a whole: whoever looks, even after a power cut, sees the old content or the new.
fn replace(path: &Path, bytes: &[u8], lock: bool) -> io::Result<File> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = (|| {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&temporary)?;
        if lock {
            file.try_lock().map_err(io::Error::from)?;
        }
        if let Ok(old) = fs::metadata(path) {
            file.set_permissions(old.permissions())?;
        }
        file.write_all(bytes)?;
        // Always: a name that a power cut leaves without content would cost what was durable before. What is not
        // waited for is only the name.
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        Ok(file)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_stays_with_the_name_when_its_folder_cannot_be_flushed() {
        let folder = std::env::temp_dir().join(format!("whimbrel-disk-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("nodes.conf");
        let (mut locked, _) = Locked::take(&path).expect("the file");
        let written = locked.replace(b"new", |_| Err(io::Error::from(io::ErrorKind::StorageFull)));
        assert!(written.is_err());
        assert_eq!(fs::read(&path).expect("the file"), b"new");
        let taken = Locked::take(&path).map(|_| ());
        fs::remove_dir_all(&folder).expect("the folder is ours");
        assert!(taken.is_err_and(|why| why.contains("already used")));
    }
}
