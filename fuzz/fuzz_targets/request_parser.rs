//! Any bytes from a client, cut anywhere: no panic, only canonical requests, and the same ones as uncut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pontoon::protocol::request::{Form, Limits, Parsed, ProtocolError, RequestParser, parse_array};

fuzz_target!(|input: (Vec<u8>, Vec<u16>)| {
    let (bytes, cuts) = input;
    let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| usize::from(cut).min(bytes.len())).collect();
    cuts.push(bytes.len());
    cuts.sort_unstable();
    assert_eq!(requests(&bytes, &cuts), requests(&bytes, &[bytes.len()]));
});

/// The requests in `bytes`, of which one piece after the other comes, up to the error.
fn requests(bytes: &[u8], cuts: &[usize]) -> (Vec<Vec<u8>>, Option<ProtocolError>) {
    let limits = Limits { request_bytes_max: 10_000, line_bytes_max: 100, ..Limits::default() };
    let (mut parser, mut spans, mut side) = (RequestParser::default(), Vec::new(), Vec::new());
    let (mut found, mut start) = (Vec::new(), 0);
    for end in cuts {
        loop {
            let buffer = &bytes[start..*end];
            match parser.parse(buffer, &limits, &mut spans, &mut side) {
                Err(error) => return (found, Some(error)),
                Ok(Parsed::Incomplete { bytes_min }) => {
                    assert!(bytes_min > buffer.len());
                    break;
                }
                Ok(Parsed::Empty { consumed }) => start += consumed,
                Ok(Parsed::Request { consumed, form }) => {
                    let request = if form == Form::InPlace { &buffer[..consumed] } else { &side };
                    parse_array(request, &mut Vec::new()).expect("canonical");
                    found.push(request.to_vec());
                    start += consumed;
                }
            }
        }
    }
    (found, None)
}
