//! The one thread that writes and reads files: what it has said is written survives a power cut.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use mio::Waker;
use whimbrel_core::action;
use whimbrel_runtime::failure::words;
use whimbrel_runtime::files::{
    self, Ended, Job, Locked, Outcome, Places, Work, folder, open_temporary, temporary,
};

/// The event loop's end of the thread.
pub(crate) struct Disk {
    requests: Option<Sender<Job>>,
    results: Receiver<Ended>,
    thread: Option<JoinHandle<()>>,
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
                        Outcome::Replaced(write(&mut places, file, &bytes, fsync).map_err(|e| words(&e)))
                    }
                    Work::Read => {
                        let content = places.path(file).and_then(fs::read_to_string);
                        Outcome::Read(content.map_err(|e| words(&e)))
                    }
                };
                if done.send(Ended { which, ticket, outcome }).is_err() {
                    return;
                }
                let _ = waker.wake();
            }
        })?;
        Ok(Self { requests: Some(requests), results, thread: Some(thread) })
    }

    /// The next result, when it comes.
    pub(crate) fn wait(&mut self) -> Option<Ended> {
        self.results.recv().ok()
    }
}

impl files::Disk for Disk {
    fn ask(&mut self, job: Job) {
        // The thread ends only when this end hangs up.
        let _ = self.requests.as_ref().map(|requests| requests.send(job));
    }

    fn result(&mut self) -> Option<Ended> {
        self.results.try_recv().ok()
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

fn write(places: &mut Places, file: action::File, bytes: &[u8], fsync: bool) -> io::Result<()> {
    let path = places.path(file)?.to_owned();
    let flush = |path: &Path| if fsync { flush_folder(path) } else { Ok(()) };
    match &mut places.nodes_conf {
        Some(locked) if file == action::File::NodesConf => replace_locked(locked, &path, bytes, flush),
        _ => replace(&path, bytes, false).and_then(|_| flush(&path)),
    }
}

/// Replaces the content of a locked file, then makes the new name last.
fn replace_locked(
    locked: &mut Locked,
    path: &Path,
    bytes: &[u8],
    flush: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    // From here on the name means the new file, whatever becomes of the folder: its lock is what counts.
    locked.renamed(replace(path, bytes, true)?);
    flush(path)
}

/// Makes it last that a name in the folder of `path` means another file now.
fn flush_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

/// Replaces a file as a whole: whoever looks, even after a power cut, sees the old content or the new.
fn replace(path: &Path, bytes: &[u8], lock: bool) -> io::Result<File> {
    let temporary = temporary(path);
    let written = (|| {
        let mut file = open_temporary(&temporary, path, lock)?;
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
        let full = |_: &Path| Err(io::Error::from(io::ErrorKind::StorageFull));
        assert!(replace_locked(&mut locked, &path, b"new", full).is_err());
        assert_eq!(fs::read(&path).expect("the file"), b"new");
        let taken = Locked::take(&path).map(|_| ());
        fs::remove_dir_all(&folder).expect("the folder is ours");
        assert!(taken.is_err_and(|why| why.contains("already used")));
    }
}
