//! What the drivers of Whimbrel's core share: everything but how they wait and how they make files durable.
//!
//! A driver binds the core to an operating system. [`program`] is the life of a process, [`start`] makes its machines,
//! [`turn`] is one turn of an event loop: what the kernel had to say goes to the machines, what they want is carried
//! out, what they said is sent. The rest is what these three are made of. Whoever wants a server takes a driver,
//! `whimbrel-mio` or `whimbrel-glommio`, not this.

pub mod clock;
pub mod descriptors;
pub mod failure;
pub mod files;
mod links;
pub mod listen;
mod logging;
pub mod machine;
pub mod mesh;
mod meter;
pub mod program;
pub mod start;
pub mod turn;
mod vitals;
