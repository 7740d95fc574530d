//! What holds for every trace that is accepted and for every problem that is told.

use std::sync::LazyLock;

use attest::{
    key::{Key, MAX_BYTES},
    problem::Problem,
    trace::Trace,
};
use serde_json::{Map, Value};

/// The schema as `jsonschema` runs it on a whole document: not the validator, nor the view, that the endpoint uses.
static SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let schema = serde_json::from_str(include_str!("../src/trace.schema.json")).expect("the schema is JSON");
    jsonschema::validator_for(&schema).expect("the schema is one")
});

/// An accepted trace is what was sent and the absent members behind it, valid, and accepted again as it is; its key is
/// within bounds and reads back.
pub fn accepted(sent: &[u8], trace: &Trace) {
    let stored = std::str::from_utf8(&trace.json).expect("what is stored is UTF-8");
    let sent = std::str::from_utf8(sent).expect("what is accepted was UTF-8");
    let (kept, _) = sent.rsplit_once('}').expect("what is accepted is an object");
    assert!(stored == sent || stored.starts_with(kept), "nothing that was sent is lost");

    // `Value` takes an object whose first name is one of serde_json's own for a number; the endpoint does not.
    if !stored.contains("serde_json") && !stored.contains("\\u") {
        let whole: Value = serde_json::from_str(stored).expect("what is stored is JSON");
        assert!(SCHEMA.is_valid(&whole), "what is stored is valid");
        let before: Map<String, Value> = serde_json::from_str(sent).expect("what is accepted is JSON");
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

    let again = Trace::parse(trace.json.clone(), || unreachable!("it has an id")).expect("what is stored is accepted");
    assert_eq!((&again.json, &again.key), (&trace.json, &trace.key));
    assert!(trace.key.as_str().len() <= MAX_BYTES);
    assert_eq!(Key::read(trace.key.as_str()), Some((trace.fingerprint.clone(), trace.id.clone())));
}

/// A refusal is a client's fault here, and its body is JSON that says so.
pub fn refused(problem: &Problem) {
    assert!((400..500).contains(&problem.status()), "{problem:?}");
    let body: Value = serde_json::from_str(&problem.body()).expect("problem details are JSON");
    assert_eq!(body["status"], problem.status());
}
