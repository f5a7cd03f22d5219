//! The program `whimbrel-mio`.

use std::process::exit;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    exit(whimbrel_mio::program(std::env::args().skip(1)));
}
