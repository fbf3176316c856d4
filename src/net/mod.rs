//! Sockets, time and randomness without meaning: the seam between Pontoon and the machine.

pub mod clock;
pub mod entropy;
pub mod readiness;

pub use clock::{Clock, Moment};
pub use entropy::Entropy;
