//! Whimbrel's core bound to a portable event loop.
