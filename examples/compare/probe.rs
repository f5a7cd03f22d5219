//! A client that only wants to know how long it has to wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::common::Trouble;
use crate::common::client::Connection;
use crate::common::figures::us;

/// Between two commands.
const REST: Duration = Duration::from_micros(200);

/// A thread that sends PING again and again.
pub struct Probe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u32, Trouble>>,
}

impl Probe {
    /// Starts it.
    pub fn start(port: u16) -> Result<Self, Trouble> {
        let trouble = |e: std::io::Error| format!("a probing client: {e}");
        let mut connection = Connection::open(port).map_err(trouble)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut longest = 0;
            while !stopped.load(Ordering::Relaxed) {
                let sent = Instant::now();
                connection.ask(&["PING"]).map_err(trouble)?;
                longest = longest.max(us(sent.elapsed()));
                thread::sleep(REST);
            }
            Ok(longest)
        });
        Ok(Self { stop, thread })
    }

    /// Ends it; the longest that it had to wait, in microseconds.
    pub fn stop(self) -> Result<u32, Trouble> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the probing client panicked".to_owned())?
    }
}
