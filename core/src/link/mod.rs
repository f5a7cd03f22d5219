//! The two ends of a byte stream as a machine sees them: what came in and is not used yet, what is to go out.

mod outbox;

pub use outbox::Outbox;
pub(crate) use outbox::Rooms;
