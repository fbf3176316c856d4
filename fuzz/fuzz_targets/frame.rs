//! Any bytes from a peer: no panic in the frames or in what they hold.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pontoon::protocol::frame::{
    Assembler, Heartbeat, Kind, Message, NodeStatus, Refusal, ReplyHead, RequestHead, split_frame, split_numbered,
};

const MESSAGE_BYTES_MAX: usize = 10_000;

fuzz_target!(|bytes: &[u8]| {
    let (mut assembler, mut rest) = (Assembler::new(MESSAGE_BYTES_MAX), bytes);
    while let Ok(Some(frame)) = split_frame(rest) {
        rest = &rest[frame.consumed..];
        match assembler.push(frame) {
            Ok(Some(message)) => decode(message),
            Ok(None) => {}
            Err(_) => return,
        }
    }
});

fn decode(message: Message<'_>) {
    let payload = message.payload;
    match message.kind {
        Kind::Request => drop(RequestHead::decode(payload)),
        Kind::Reply => drop(ReplyHead::decode(payload)),
        Kind::Refusal => drop(Refusal::decode(payload)),
        Kind::Heartbeat => drop(Heartbeat::decode(payload)),
        Kind::Status => drop(NodeStatus::decode(payload)),
        _ => drop(split_numbered(payload)),
    }
}
