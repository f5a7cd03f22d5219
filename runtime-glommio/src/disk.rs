//! The one task that writes and reads files: what it has said is written survives a power cut.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use glommio::channels::local_channel::{LocalReceiver, LocalSender, new_unbounded};
use glommio::io::{Directory, OpenOptions, remove, rename};
use glommio::{GlommioError, Task, spawn_local};
use mio::Waker;
use whimbrel_core::action;
use whimbrel_runtime::failure::words;
use whimbrel_runtime::files::{self, Ended, Job, Outcome, Places, Work, folder, open_temporary, temporary};

/// Bytes that are read at a time.
const READ: usize = 64 * 1024;

/// The event loop's end of the task.
pub(crate) struct Disk {
    requests: LocalSender<Job>,
    results: Rc<RefCell<VecDeque<Ended>>>,
    task: Task<()>,
}

impl Disk {
    /// Starts the task. `waker` is woken for every result.
    pub(crate) fn start(places: Places, waker: Arc<Waker>) -> Self {
        let (requests, jobs) = new_unbounded();
        let results = Rc::new(RefCell::new(VecDeque::new()));
        let task = spawn_local(work(places, jobs, results.clone(), waker));
        Self { requests, results, task }
    }

    /// Ends the task; what was asked for is written before.
    pub(crate) async fn finish(self) {
        drop(self.requests);
        self.task.await;
    }
}

impl files::Disk for Disk {
    fn ask(&mut self, job: Job) {
        // The task ends only when this end hangs up.
        let _ = self.requests.try_send(job);
    }

    fn result(&mut self) -> Option<Ended> {
        self.results.borrow_mut().pop_front()
    }
}

async fn work(
    mut places: Places,
    jobs: LocalReceiver<Job>,
    results: Rc<RefCell<VecDeque<Ended>>>,
    waker: Arc<Waker>,
) {
    while let Some(Job { which, ticket, file, work }) = jobs.recv().await {
        let outcome = match work {
            Work::Replace { bytes, fsync } => {
                Outcome::Replaced(write(&mut places, file, &bytes, fsync).await.map_err(|e| words(&e)))
            }
            Work::Read => Outcome::Read(read(&places, file).await.map_err(|e| words(&e))),
        };
        results.borrow_mut().push_back(Ended { which, ticket, outcome });
        let _ = waker.wake();
    }
}

async fn read(places: &Places, file: action::File) -> io::Result<String> {
    let file = OpenOptions::new().read(true).buffered_open(places.path(file)?).await.map_err(plain)?;
    let mut content = Vec::new();
    loop {
        let some = file.read_at(content.len() as u64, READ).await.map_err(plain)?;
        if some.is_empty() {
            break;
        }
        content.extend_from_slice(&some);
    }
    file.close().await.map_err(plain)?;
    String::from_utf8(content).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

async fn write(places: &mut Places, file: action::File, bytes: &Bytes, fsync: bool) -> io::Result<()> {
    let path = places.path(file)?.to_owned();
    match &mut places.nodes_conf {
        // From here on the name means the new file, whatever becomes of the folder: its lock is what counts.
        Some(locked) if file == action::File::NodesConf => {
            locked.renamed(replace(&path, bytes, true).await?);
        }
        _ => drop(replace(&path, bytes, false).await?),
    }
    if fsync { flush_folder(&path).await } else { Ok(()) }
}

/// Makes it last that a name in the folder of `path` means another file now.
async fn flush_folder(path: &Path) -> io::Result<()> {
    let folder = Directory::open(folder(path)).await.map_err(plain)?;
    folder.sync().await.map_err(plain)?;
    folder.close().await.map_err(plain)
}

/// Replaces a file as a whole: whoever looks, even after a power cut, sees the old content or the new.
async fn replace(path: &Path, bytes: &Bytes, lock: bool) -> io::Result<File> {
    let temporary = temporary(path);
    let written = write_aside(path, &temporary, bytes, lock).await;
    if written.is_err() {
        let _ = remove(&temporary).await;
    }
    written
}

async fn write_aside(path: &Path, temporary: &Path, bytes: &Bytes, lock: bool) -> io::Result<File> {
    // The ring knows no locks and no permissions. None of this waits for the disk.
    let held = open_temporary(temporary, path, lock)?;
    let file = OpenOptions::new().write(true).buffered_open(temporary).await.map_err(plain)?;
    let mut written = 0;
    while written < bytes.len() {
        written += file.write_at(bytes[written..].to_vec(), written as u64).await.map_err(plain)?;
    }
    // Always: a name that a power cut leaves without content would cost what was durable before. What is not
    // waited for is only the name.
    file.fdatasync().await.map_err(plain)?;
    file.close().await.map_err(plain)?;
    rename(temporary, path).await.map_err(plain)?;
    Ok(held)
}

/// What the operating system said, without what glommio adds to it.
fn plain(error: GlommioError<()>) -> io::Error {
    match error {
        GlommioError::IoError(source) | GlommioError::EnhancedIoError { source, .. } => source,
        other => other.into(),
    }
}
