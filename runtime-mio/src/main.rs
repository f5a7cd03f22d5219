//! The program `whimbrel-mio`.
fn main() {}
