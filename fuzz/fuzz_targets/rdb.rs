//! Any bytes as an object: no panic, no memory beyond the bytes; what is a value comes back from its own dump.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pontoon::keyspace::rdb::{decode, dump, unseal};

const STRING_BYTES_MAX: usize = 64 * 1024;

fuzz_target!(|bytes: &[u8]| {
    let _ = unseal(bytes);
    let Ok(value) = decode(bytes, STRING_BYTES_MAX) else { return };
    if !value.is_gone(0) {
        let payload = dump(&value, 0);
        let object = unseal(&payload).expect("the footer is of our own making");
        assert!(decode(object, STRING_BYTES_MAX).is_ok());
    }
});
