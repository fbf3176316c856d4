//! Any bytes as a reply: no panic, and an end that more bytes do not move.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pontoon::protocol::reply_scan::{array_elements, integer, reply_end};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(end)) = reply_end(bytes) {
        assert_eq!(reply_end(&bytes[..end]), Ok(Some(end)));
        assert_eq!(reply_end(&bytes[..end - 1]), Ok(None));
    }
    let mut spans = Vec::new();
    if let Ok(Some(count)) = array_elements(bytes, &mut spans) {
        assert_eq!(count, spans.len());
    }
    let _ = integer(bytes);
});
