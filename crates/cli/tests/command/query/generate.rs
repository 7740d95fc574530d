//! Generates traces with unusual values, and queries for their contents.

use std::collections::HashSet;

use fastrand::Rng;
use serde_json::{Value, json};

use super::plain::{Expression, Operator, Plain, StoredTrace};

/// Texts, each with its lower-case NFC form.
const CONTENTS: [(&str, &str); 9] = [
    ("banana", "banana"),
    ("Refund", "refund"),
    ("Grüße", "grüße"),
    ("GRU\u{308}ßE", "grüße"),
    ("ΟΔΟΣ", "οδοσ"),
    ("日本", "日本"),
    ("say \"hi\" (now)", "say \"hi\" (now)"),
    ("http://a.test/?x=1", "http://a.test/?x=1"),
    ("-5 or not", "-5 or not"),
];

const MODELS: [&str; 4] = ["m-1", "m-10", "M-1", "modèle"];
const FINGERPRINTS: [(&str, &str); 4] =
    [("m-1", "m-1"), ("m-10", "m-10"), ("my model", "my%20model"), ("m-1/b", "m-1/b")];
const USERS: [&str; 3] = ["u-7", "u-70", "ü 7"];
/// The roles of the schema, and one that no message of this test has.
const ROLES: [&str; 4] = ["system", "user", "assistant", "tool"];
/// Names, few enough to occur both in traces and in queries. Some need quotes in a query.
const NAMES: [&str; 8] = ["a", "b", "rating", "my key", "0", "1", "ü", "x.y"];
const NUMBERS: [&str; 14] = [
    "0",
    "-0.0",
    "1",
    "4",
    "4.0",
    "40e-1",
    "3.9999999999999999999",
    "4.0000000000000000001",
    "9007199254740992",
    "9007199254740993",
    "-5",
    "1e400",
    "1.0000000000000000000000001e400",
    "5E-324",
];
const TEXTS: [&str; 11] = ["4", "beta", "better", "Beta", "ü", "u\u{308}", "true", "null", "a \"b\" \\ c", "", "4.0"];

/// 2026-11-20 at midnight UTC, in seconds since 1970.
const DAY: u64 = 1_795_132_800;

/// Periods as written in a query, each with its first second and the first second after it.
const PERIODS: [(&str, u64, u64); 7] = [
    ("2026", 1_767_225_600, 1_798_761_600),
    ("2026-11", 1_793_491_200, 1_796_083_200),
    ("2026-11-21", DAY + 86_400, DAY + 2 * 86_400),
    ("2026-11-22", DAY + 2 * 86_400, DAY + 3 * 86_400),
    ("2026-11-22T00:00:00Z", DAY + 2 * 86_400, DAY + 2 * 86_400 + 1),
    ("2026-11-21T02:00:00+02:00", DAY + 86_400, DAY + 86_401),
    ("2027-02", 1_801_440_000, 1_803_859_200),
];

const OPERATORS: [(Operator, &str); 6] = [
    (Operator::Is, ":"),
    (Operator::Equal, "="),
    (Operator::Greater, ">"),
    (Operator::AtLeast, ">="),
    (Operator::Less, "<"),
    (Operator::AtMost, "<="),
];

fn choice<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(..of.len())]
}

fn text(text: &str) -> Plain {
    Plain::Single(Value::String(text.to_owned()))
}

/// Returns an object without repeated names, which a trace must not have (`docs/api.md`).
fn object(members: Vec<(String, Plain)>) -> Plain {
    let mut names = HashSet::new();
    Plain::Object(members.into_iter().filter(|(name, _)| names.insert(name.clone())).collect())
}

/// Returns a value of any type.
fn value(rng: &mut Rng, depth: usize) -> Plain {
    match rng.u8(..if depth == 0 { 8 } else { 12 }) {
        0..=3 => Plain::Single(serde_json::from_str(choice(rng, &NUMBERS)).expect("a number")),
        4..=6 => text(choice(rng, &TEXTS)),
        7 => Plain::Single(choice(rng, &["true", "false", "null"]).parse().expect("a literal")),
        8 | 9 => Plain::Array((0..rng.usize(..4)).map(|_| value(rng, depth - 1)).collect()),
        _ => object((0..rng.usize(..4)).map(|_| (name(rng), value(rng, depth - 1))).collect()),
    }
}

fn name(rng: &mut Rng) -> String {
    choice(rng, &NAMES).to_owned()
}

/// Formats JSON that the endpoint accepts, sometimes with escapes and white space.
fn write(rng: &mut Rng, value: &Plain, json: &mut String) {
    let space = if rng.u8(..4) == 0 { " " } else { "" };
    let string = |rng: &mut Rng, text: &str| {
        let json = json!(text).to_string();
        if rng.bool() { json } else { json.replace('a', "\\u0061").replace('ü', "\\u00fc") }
    };
    match value {
        Plain::Single(Value::String(text)) => json.push_str(&string(rng, text)),
        Plain::Single(value) => json.push_str(&value.to_string()),
        Plain::Array(elements) => {
            json.push('[');
            for (at, element) in elements.iter().enumerate() {
                json.push_str(if at > 0 { "," } else { space });
                write(rng, element, json);
            }
            json.push(']');
        }
        Plain::Object(members) => {
            json.push('{');
            for (at, (name, member)) in members.iter().enumerate() {
                json.push_str(if at > 0 { "," } else { space });
                json.push_str(&string(rng, name));
                json.push(':');
                json.push_str(space);
                write(rng, member, json);
            }
            json.push('}');
        }
    }
}

pub fn trace(rng: &mut Rng, number: usize) -> StoredTrace {
    let (fingerprint, fingerprint_in_key) = choice(rng, &FINGERPRINTS);
    let (id, id_in_key) = if number.is_multiple_of(7) {
        (format!("a/{number}"), format!("a%2F{number}"))
    } else {
        (format!("{number}-é"), format!("{number}-%C3%A9"))
    };
    let model = choice(rng, &MODELS);
    // Some traces are exactly on a bound.
    let time = |rng: &mut Rng| DAY + rng.u64(..5) * 86_400 + choice(rng, &[0, 0, 1, 40_000, 86_399]);
    let (created, stored) = (time(rng), time(rng));
    let (mut contents, mut roles, mut messages) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rng.usize(1..4) {
        let (first, second) = (choice(rng, &CONTENTS), choice(rng, &CONTENTS));
        contents.push(format!("{} {}", first.1, second.1));
        roles.push(choice(rng, &ROLES[..3]).to_owned());
        let content = text(&format!("{} {}", first.0, second.0));
        let role = text(roles.last().expect("it was added"));
        messages.push(Plain::Object(vec![("role".to_owned(), role), ("content".to_owned(), content)]));
    }
    let user = rng.bool().then(|| choice(rng, &USERS).to_owned());
    let tokens = rng.bool().then(|| choice(rng, &[0, 9, 1_000, 1_001, 9_007_199_254_740_993]));
    let mut log: Vec<(String, Plain)> = (0..rng.usize(..5)).map(|_| (name(rng), value(rng, 3))).collect();
    log.extend(user.iter().map(|user| ("user".to_owned(), text(user))));
    let mut members = vec![
        ("model".to_owned(), text(model)),
        ("created".to_owned(), Plain::Single(created.into())),
        ("id".to_owned(), text(&id)),
        ("system_fingerprint".to_owned(), text(fingerprint)),
        ("object".to_owned(), text("chat.trace")),
        ("messages".to_owned(), Plain::Array(messages)),
    ];
    if user.is_some() || rng.bool() {
        members.push(("log".to_owned(), object(log)));
    }
    let usage = |tokens: u64| Plain::Object(vec![("total_tokens".to_owned(), Plain::Single(tokens.into()))]);
    members.extend(tokens.map(|tokens| ("usage".to_owned(), usage(tokens))));
    // The writer's own members.
    members.extend((0..rng.usize(..4)).map(|_| (name(rng), value(rng, 2))));
    rng.shuffle(&mut members);
    let (trace, mut json) = (object(members), String::new());
    write(rng, &trace, &mut json);
    StoredTrace {
        key: format!("{fingerprint_in_key}/{id_in_key}"),
        id,
        fingerprint: fingerprint.to_owned(),
        json,
        stored,
        created,
        model: model.to_owned(),
        contents,
        roles,
        user,
        tokens,
        trace,
    }
}

/// Returns the text of a query and its meaning.
pub fn query(rng: &mut Rng) -> (String, Expression) {
    let depth = rng.usize(..4);
    expression(rng, depth)
}

fn expression(rng: &mut Rng, depth: usize) -> (String, Expression) {
    if depth == 0 {
        return condition(rng);
    }
    match rng.u8(..6) {
        0 | 1 => {
            let (texts, parts) = parts(rng, depth);
            let joint = choice(rng, &[" ", "  ", " and ", " AND "]);
            (format!("({})", texts.join(joint)), Expression::And(parts))
        }
        2 | 3 => {
            let (texts, parts) = parts(rng, depth);
            (format!("({})", texts.join(choice(rng, &[" or ", " OR "]))), Expression::Or(parts))
        }
        4 => {
            let (text, negated) = expression(rng, depth - 1);
            // Two hyphens start a word.
            let not = if text.starts_with('-') { "not " } else { choice(rng, &["-", "not ", "NOT "]) };
            (format!("{not}{text}"), Expression::Not(negated.into()))
        }
        _ => {
            // `and` binds more tightly than `or`.
            let [(a, first), (b, second), (c, third)] = [0; 3].map(|_| condition(rng));
            (format!("({a} or {b} {c})"), Expression::Or(vec![first, Expression::And(vec![second, third])]))
        }
    }
}

fn parts(rng: &mut Rng, depth: usize) -> (Vec<String>, Vec<Expression>) {
    (0..rng.usize(2..4)).map(|_| expression(rng, depth - 1)).unzip()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Formats a value, with quotes if it needs them, and sometimes if it does not.
fn right(rng: &mut Rng, text: &str) -> String {
    let is_bare =
        !text.is_empty() && text.chars().all(|character| character.is_alphanumeric() || "-+.".contains(character));
    if is_bare && rng.bool() { text.to_owned() } else { quoted(text) }
}

fn condition(rng: &mut Rng) -> (String, Expression) {
    let comparison = |rng: &mut Rng| choice(rng, &OPERATORS);
    let equality = |rng: &mut Rng| choice(rng, &OPERATORS[..2]);
    match rng.u8(..16) {
        0 | 1 => word(rng),
        2 => {
            let (operator, sign) = equality(rng);
            let text = choice(rng, &["m-1", "m-10", "my model", "m-1/b", "m"]);
            let text_of = right(rng, text);
            let is_whole = operator == Operator::Equal;
            (format!("fingerprint{sign}{text_of}"), Expression::Fingerprint { text: text.to_owned(), is_whole })
        }
        3 => {
            let (operator, sign) = equality(rng);
            let text = choice(rng, &["a/7", "a/", "1-é", "11-é", "é", "9"]);
            let is_whole = operator == Operator::Equal;
            (format!("id{sign}{}", right(rng, text)), Expression::Id { text: text.to_owned(), is_whole })
        }
        4 => {
            let text = choice(rng, &["m-1", "m-10", "mod", "M-1"]);
            let is_prefix = rng.bool();
            let star = if is_prefix { "*" } else { "" };
            (format!("model:{}{star}", right(rng, text)), Expression::Model { text: text.to_owned(), is_prefix })
        }
        5 => {
            let role = choice(rng, &ROLES);
            (format!("role:{role}"), Expression::Role(role.to_owned()))
        }
        6 => {
            let text = choice(rng, &USERS);
            let is_prefix = rng.bool();
            let star = if is_prefix { "*" } else { "" };
            (format!("user:{}{star}", right(rng, text)), Expression::User { text: text.to_owned(), is_prefix })
        }
        7 => {
            let ((operator, sign), (text, start, end)) = (comparison(rng), choice(rng, &PERIODS));
            (format!("created{sign}{text}"), Expression::Created(operator, start, end))
        }
        8 => {
            let ((operator, sign), (text, start, end)) = (comparison(rng), choice(rng, &PERIODS));
            match rng.u8(..3) {
                0 => (format!("since:{text}"), Expression::Stored(Operator::AtLeast, start, end)),
                1 => (format!("until:{text}"), Expression::Stored(Operator::Less, start, end)),
                _ => (format!("stored{sign}{text}"), Expression::Stored(operator, start, end)),
            }
        }
        9 => {
            let ((operator, sign), value) = (comparison(rng), choice(rng, &["250", "300.5", "4e2", "500"]));
            (format!("size{sign}{value}"), Expression::Size(operator, value.to_owned()))
        }
        10 => {
            let ((operator, sign), value) = (comparison(rng), choice(rng, &["0", "1e3", "1000.5", "9007199254740992"]));
            (format!("total_tokens{sign}{value}"), Expression::Tokens(operator, value.to_owned()))
        }
        _ => member(rng),
    }
}

fn word(rng: &mut Rng) -> (String, Expression) {
    let (written, normal) = choice(
        rng,
        &[
            ("banana", "banana"),
            ("REFUND", "refund"),
            ("GRÜSS", "grüss"),
            ("grüß", "grüß"),
            ("gru\u{308}ße", "grüße"),
            ("οδος", "οδοσ"),
            ("日", "日"),
            ("\"say \\\"hi\\\" (\"", "say \"hi\" ("),
            ("http://a.test/?x=1", "http://a.test/?x=1"),
            ("\"or not\"", "or not"),
            ("\"na ban\"", "na ban"),
            // Only in `log`, which is not searched for words.
            ("better", "better"),
        ],
    );
    (written.to_owned(), Expression::Word(normal.to_owned()))
}

fn member(rng: &mut Rng) -> (String, Expression) {
    let mut path: Vec<String> = match rng.u8(..8) {
        0 => vec!["usage".to_owned(), "total_tokens".to_owned()],
        1 => choice(rng, &[&["messages", "role"][..], &["messages", "0", "role"]])
            .iter()
            .map(|&name| name.to_owned())
            .collect(),
        2 => vec![name(rng)],
        _ => vec!["log".to_owned(), name(rng)],
    };
    if path.len() < 3 && path[0] != "usage" && path[0] != "messages" {
        path.extend((0..choice(rng, &[0, 0, 1, 2])).map(|_| name(rng)));
    }
    // Unlike other members, members of the schema need no dot.
    let is_known = ["usage", "messages", "log"].contains(&path[0].as_str());
    let mut left = if is_known && rng.bool() { String::new() } else { ".".to_owned() };
    for (at, name) in path.iter().enumerate() {
        left.push_str(if at > 0 { "." } else { "" });
        let is_bare = name.chars().all(char::is_alphanumeric);
        left.push_str(&if is_bare && rng.bool() { name.clone() } else { quoted(name) });
    }
    if !left.starts_with('.') && left.starts_with('"') {
        left.insert(0, '.'); // the first name in quotes needs a dot
    }
    let (operator, sign) = choice(rng, &OPERATORS);
    if !matches!(operator, Operator::Is | Operator::Equal) {
        let value = choice(rng, &NUMBERS);
        let sign = if rng.bool() { sign.to_owned() } else { format!(" {sign} ") };
        return (
            format!("{left}{sign}{value}"),
            Expression::Member { path, operator, value: value.to_owned(), is_prefix: false },
        );
    }
    let is_prefix = operator == Operator::Is && rng.u8(..3) == 0;
    let value = match rng.u8(..6) {
        0 if is_prefix => "",
        0 | 1 => choice(rng, &["true", "false", "null", "assistant", "be"]),
        2 | 3 => choice(rng, &NUMBERS),
        _ => choice(rng, &TEXTS),
    };
    let written = if is_prefix && value.is_empty() { String::new() } else { right(rng, value) };
    let star = if is_prefix { "*" } else { "" };
    (format!("{left}{sign}{written}{star}"), Expression::Member { path, operator, value: value.to_owned(), is_prefix })
}
