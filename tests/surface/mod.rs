//! The same commands to two servers, and what may differ in their answers.

#![allow(unreachable_pub)] // shared by the rooms of the test

pub mod allow;
pub mod ends;
pub mod generate;
pub mod pair;
pub mod value;
