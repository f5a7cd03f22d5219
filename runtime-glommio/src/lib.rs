//! Whimbrel's core on glommio: one io_uring executor per core. Linux only; not built yet.
#![cfg(target_os = "linux")]
