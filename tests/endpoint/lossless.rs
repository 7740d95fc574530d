//! Tests that the stored object is the sent text, with the missing members added after the last one.

use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use serde_json::Value;

use crate::support::{Bucket, handler_on, post};

/// Generates any JSON value as text: numbers of any length, strings with any escapes, unique names.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop_oneof![Just("null"), Just("true"), Just("false")].prop_map(ToOwned::to_owned),
        number(),
        string(),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(|items| format!("[{}]", items.join(" , "))),
            vec((string(), inner), 0..8).prop_map(|members| object(&members)),
        ]
    })
}

/// Prefixes each name with its position, so that no name is repeated.
fn object(members: &[(String, String)]) -> String {
    let members: Vec<String> = members
        .iter()
        .enumerate()
        .map(|(index, (name, value))| format!("\"{index} {}\t:\n{value}", &name[1..]))
        .collect();
    format!("{{ {} }}", members.join(","))
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?(0|[1-9][0-9]{0,45})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?",
        Just("1e400".to_owned()),
        Just("-0".to_owned()),
        Just("1.10".to_owned()),
        Just("9".repeat(4000)),
    ]
}

fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop_oneof![any::<char>().prop_map(String::from), "\\PC{0,12}"].prop_map(|text| {
            let quoted = serde_json::to_string(&text).expect("a string is JSON");
            quoted[1..quoted.len() - 1].to_owned()
        }),
        prop_oneof![
            Just(r"\u0000"),
            Just(r"\u2028"),
            Just("\u{2028}"),
            Just(r"\ud83d\uDE00"),
            Just(r"\/"),
            Just("😀"),
            Just(r#"\""#),
            Just(r"\\"),
            Just(r"\b\f\n\r\t"),
            Just("\u{7f}"),
            Just("\u{feff}"),
            Just("$serde_json::private::RawValue"),
            Just("$serde_json::private::Number"),
        ]
        .prop_map(ToOwned::to_owned),
    ];
    vec(piece, 0..6).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9/._ é%-]{1,40}".prop_map(|name| serde_json::to_string(&name).expect("a string is JSON"))
}

fn message() -> impl Strategy<Value = String> {
    let role = prop_oneof![Just("\"user\""), Just("\"assistant\""), Just(r#""s\u0079stem""#)];
    (role, string(), vec((string(), json()), 0..3)).prop_map(|(role, content, others)| {
        let mut members = vec![format!("\"content\" : {content}"), format!("\"role\":{role}")];
        members.extend(inner(&object(&others)));
        format!("{{{}}}", members.join(","))
    })
}

/// Returns the members of an object as text, if it has any.
fn inner(object: &str) -> Option<String> {
    Some(object[1..object.len() - 1].trim().to_owned()).filter(|members| !members.is_empty())
}

/// Generates valid traces whose members are in different orders, with some of the optional ones missing.
fn trace() -> impl Strategy<Value = String> {
    let optional = |name: &'static str, value: BoxedStrategy<String>| {
        proptest::option::of(value.prop_map(move |value| format!("\"{name}\":{value}")))
    };
    (
        name(),
        "-?(0|[1-9][0-9]{0,45})",
        vec(message(), 0..4),
        (
            optional("id", name().boxed()),
            optional("system_fingerprint", name().boxed()),
            optional("object", string().boxed()),
        ),
        vec((string(), json()), 0..5),
        (proptest::option::of(vec((string(), json()), 0..4)), any::<bool>()),
    )
        .prop_map(|(model, created, messages, (id, fingerprint, object_name), others, (usage, is_reversed))| {
            let mut members = vec![
                format!("\"mod\\u0065l\": {model}"),
                format!("\"created\":{created}"),
                format!("\"messages\" : [{}]", messages.join(",\n")),
            ];
            members.extend([id, fingerprint, object_name].into_iter().flatten());
            members.extend(usage.map(|usage| format!("\"usage\":{}", object(&usage))));
            members.extend(inner(&object(&others)));
            if is_reversed {
                members.reverse();
            }
            format!(" {{ {} }}\n", members.join(" , "))
        })
}

#[test]
fn the_stored_object_is_the_sent_text_plus_the_missing_members() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let bucket = runtime.block_on(Bucket::new());
    let handler = runtime.block_on(async { handler_on(bucket.address) });
    let config = ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&trace(), |sent| {
            let answer = runtime.block_on(post(&handler, &sent));
            // Two generated traces may have the same id by chance.
            if answer.status == 409 {
                return Ok(());
            }
            prop_assert_eq!(answer.status, 201, "{}: {}", sent, answer.body);
            let stored = runtime.block_on(bucket.object(answer.body["key"].as_str().expect("a key")));
            let stored = String::from_utf8(stored).expect("UTF-8");
            let (kept, _) = sent.rsplit_once('}').expect("an object");
            let absent = stored.strip_prefix(kept).expect("the sent text is unchanged");

            let members: Value = serde_json::from_str(&format!("{{\"\":0{absent}")).expect("JSON");
            let whole: serde_json::Map<String, Value> = serde_json::from_str(&stored).expect("JSON");
            let before: serde_json::Map<String, Value> = serde_json::from_str(&sent).expect("JSON");
            for name in ["id", "system_fingerprint", "object"] {
                prop_assert_eq!(members.get(name).is_some(), !before.contains_key(name), "{}", absent);
                prop_assert_eq!(&whole[name], &answer.body[name]);
            }
            prop_assert_eq!(members.as_object().map(serde_json::Map::len), Some(1 + whole.len() - before.len()));

            let again = runtime.block_on(post(&handler, &stored));
            prop_assert_eq!((again.status, again.body), (200, answer.body));
            Ok(())
        })
        .expect("every valid trace");
}
