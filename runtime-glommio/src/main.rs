//! The program `whimbrel-glommio`.

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(target_os = "linux")]
fn main() {
    std::process::exit(whimbrel_glommio::program(std::env::args().skip(1)));
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("whimbrel-glommio needs io_uring, which only Linux has: whimbrel-mio runs anywhere.");
    std::process::exit(1);
}
