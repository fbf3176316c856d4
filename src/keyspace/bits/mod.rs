//! Bit commands: strings seen as arrays of bits, the highest bit of the first byte first.

mod count;
mod field;
mod offset;
mod operation;
mod single;

pub use count::{bitcount, bitpos};
pub use field::{bitfield, bitfield_ro};
pub use operation::bitop;
pub use single::{getbit, setbit};
