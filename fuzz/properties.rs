//! Checks the properties that all accepted traces and all error responses share.

use std::sync::LazyLock;

use attest::{
    key::{Key, MAX_BYTES},
    problem::Problem,
    trace::Trace,
};
use serde_json::{Map, Value};

/// Validates complete documents, while the endpoint validates a view with another validator.
static SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let schema = serde_json::from_str(include_str!("../src/trace.schema.json")).expect("the schema is JSON");
    jsonschema::validator_for(&schema).expect("the schema is valid")
});

/// Checks an accepted trace. It must be valid, and equal the sent text plus the missing members. Parsing it again must
/// not change it. Its key must be within bounds and decode into fingerprint and id.
pub fn accepted(sent: &[u8], trace: &Trace) {
    let stored = std::str::from_utf8(&trace.json).expect("a stored trace is UTF-8");
    let sent = std::str::from_utf8(sent).expect("an accepted body is UTF-8");
    let (kept, _) = sent.rsplit_once('}').expect("an accepted body is an object");
    assert!(stored == sent || stored.starts_with(kept), "the sent text is complete");

    // `Value` parses an object as a number if its first name is a private name of serde_json. The endpoint parses it as
    // an object.
    if !stored.contains("serde_json") && !stored.contains("\\u") {
        let whole: Value = serde_json::from_str(stored).expect("a stored trace is JSON");
        assert!(SCHEMA.is_valid(&whole), "a stored trace is valid");
        let before: Map<String, Value> = serde_json::from_str(sent).expect("an accepted body is JSON");
        for (name, default) in
            [("id", &trace.id), ("system_fingerprint", &trace.fingerprint), ("object", &trace.object)]
        {
            assert_eq!(whole[name], *default.as_str());
            if let Some(value) = before.get(name) {
                assert_eq!(whole[name], *value);
            }
        }
        let added = ["id", "system_fingerprint", "object"].iter().filter(|name| !before.contains_key(**name)).count();
        assert_eq!(whole.as_object().map(Map::len), Some(before.len() + added));
    }

    let again =
        Trace::parse(trace.json.clone(), || unreachable!("it has an id")).expect("a stored trace is accepted again");
    assert_eq!((&again.json, &again.key), (&trace.json, &trace.key));
    assert!(trace.key.as_str().len() <= MAX_BYTES);
    assert_eq!(Key::read(trace.key.as_str()), Some((trace.fingerprint.clone(), trace.id.clone())));
}

/// Checks an error response: the status is a 4xx, and the body contains it.
pub fn refused(problem: &Problem) {
    assert!((400..500).contains(&problem.status()), "{problem:?}");
    let body: Value = serde_json::from_str(&problem.body()).expect("problem details are JSON");
    assert_eq!(body["status"], problem.status());
}
