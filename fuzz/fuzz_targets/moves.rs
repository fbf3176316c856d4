//! Any bytes between leaders that move slots: no panic; what is a message is written as the bytes that it was read from.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pontoon::protocol::moves::MoveMessage;

fuzz_target!(|bytes: &[u8]| {
    let Ok(message) = MoveMessage::decode(bytes) else { return };
    let mut out = Vec::new();
    message.encode(&mut out);
    assert_eq!(out, bytes);
});
