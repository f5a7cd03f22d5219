//! Rules one by one with a scripted peer, then several machines on a simulated network.

mod admin;
mod conf;
mod failing;
mod faults;
mod joining;
mod net;
mod ownership;
mod recorded;
mod rig;
mod slots;
mod takeover;
mod voting;
mod worlds;
