//! Waiting for many sockets with one request in the ring, while it has other requests.
//!
//! glommio's own streams cost one request, one completion and one wake-up of a task for every time that a socket becomes
//! readable. Here the sockets of an executor are a set that the kernel keeps (epoll), and the ring is asked about the
//! set: one request for whatever happens next, however many sockets it happens to.
//!
//! glommio has no words for "this descriptor is readable". But a stream asks the ring just that when it is made, and
//! its first read comes when the answer is there. The read itself fails, as the descriptor is no socket, and what was
//! learnt is that it became readable. A stream closes its descriptor at its end, so each gets one of its own; while the
//! process has none left, sockets are looked at from time to time instead.

use std::io;
use std::net;
use std::os::fd::AsFd;
use std::time::Duration;

use futures_lite::AsyncReadExt;
use glommio::net::TcpStream;
use glommio::timer::{sleep, timeout};
use mio::Registry;
use socket2_of_glommio::Socket;

/// Time between two looks at sockets that cannot be waited for.
const BLIND: Duration = Duration::from_millis(2);

/// The ring of an executor, as far as it waits for a set of sockets.
pub(crate) struct Ring {
    set: Registry,
    /// The request of a wait that ended before its answer came.
    open: Option<TcpStream>,
}

impl Ring {
    /// Waits for this set.
    pub(crate) fn new(set: Registry) -> Self {
        Self { set, open: None }
    }

    /// Waits until something happens to a socket of the set, but not longer than this.
    pub(crate) async fn wait(&mut self, patience: Duration) {
        let mut asked = match self.open.take() {
            Some(open) => open,
            None => match self.ask() {
                Ok(asked) => asked,
                Err(_) => return sleep(patience.min(BLIND)).await,
            },
        };
        let answer = async {
            let _ = asked.read(&mut [0]).await;
            Ok(())
        };
        if timeout(patience, answer).await.is_err() {
            self.open = Some(asked);
        }
    }

    fn ask(&self) -> io::Result<TcpStream> {
        let descriptor = self.set.as_fd().try_clone_to_owned()?;
        Ok(TcpStream::from(Socket::from(net::TcpStream::from(descriptor))))
    }
}
