//! Any bytes as a whole proxy event, as the Lambda runtime hands it over.
#![no_main]

use attest::{event::Event, handler::read};
use attest_fuzz::{accepted, refused};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(event) = serde_json::from_slice::<Event>(bytes) else {
        // Only what is no JSON object is no event.
        assert!(serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(bytes).is_err());
        return;
    };
    let sent = event.body.clone();
    let is_base64 = event.is_base64;
    match read(event, 1 << 20) {
        Ok((trace, _)) if is_base64 => accepted(&trace.json, &trace),
        Ok((trace, _)) => accepted(&sent, &trace),
        Err(problem) => refused(&problem),
    }
});
