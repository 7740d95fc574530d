//! Bodies designed to be expensive to parse, as an attacker would send them.

type Shape = fn(usize) -> String;

/// The name of each shape, and a function that returns a body of about the given size in bytes.
pub const SHAPES: [(&str, Shape); 11] = [
    ("a long name above many repeats", |bytes| {
        let name = "n".repeat(bytes / 2);
        trace(&format!(r#""{name}":{{{}}}"#, list(r#""a":0"#, bytes / 2)))
    }),
    ("a deep path above many repeats", |bytes| {
        let name = format!(r#"{{"{}":"#, "n".repeat(200));
        trace(&format!(r#""x":{}{{{}}}{}"#, name.repeat(120), list(r#""a":0"#, bytes), "}".repeat(120)))
    }),
    ("many small violations with long pointers", |bytes| {
        let name = format!("~{}", "/".repeat(500));
        let member = format!(r#"{{"{name}":{{"a":0,"a":0}}}}"#);
        trace(&format!(r#""x":[{}]"#, list(&member, bytes)))
    }),
    ("wrong messages", |bytes| format!(r#"{{"model":"m","created":1,"messages":[{}]}}"#, list("{}", bytes))),
    ("messages that are numbers", |bytes| format!(r#"{{"model":"m","created":1,"messages":[{}]}}"#, list("0", bytes))),
    ("many members", |bytes| {
        let members: Vec<String> = (0..bytes / 11).map(|n| format!(r#""{n:x}":{}"#, n % 10)).collect();
        trace(&format!(r#""x":{{{}}}"#, members.join(",")))
    }),
    ("long names that differ at their end", |bytes| {
        let members: Vec<String> = (0..bytes / 1000).map(|n| format!(r#""{n:0>990}":0"#)).collect();
        trace(&format!(r#""x":{{{}}}"#, members.join(",")))
    }),
    ("long numbers", |bytes| trace(&format!(r#""x":[{}]"#, list(&"9".repeat(4_000), bytes)))),
    ("escapes", |bytes| trace(&format!(r#""x":"{}""#, r"\u0061".repeat(bytes / 6)))),
    ("names of escapes", |bytes| {
        let name = |n| format!(r#""{}{n:x}":0"#, r"\u0061".repeat(20));
        let members: Vec<String> = (0..bytes / 134).map(name).collect();
        trace(&format!(r#""x":{{{}}}"#, members.join(",")))
    }),
    ("empty arrays", |bytes| trace(&format!(r#""x":[{}]"#, list("[]", bytes)))),
];

/// Returns a valid trace of about this many bytes: a chat of short messages.
pub fn chat(bytes: usize) -> String {
    let message = r#"{"role":"user","content":"How are you?"}"#;
    format!(r#"{{"model":"m","created":1,"messages":[{}]}}"#, list(message, bytes))
}

fn trace(member: &str) -> String {
    format!(r#"{{"model":"m","created":1,"messages":[],{member}}}"#)
}

/// Repeats an item, separated by commas, up to about this many bytes.
fn list(item: &str, bytes: usize) -> String {
    vec![item; bytes / (item.len() + 1)].join(",")
}
