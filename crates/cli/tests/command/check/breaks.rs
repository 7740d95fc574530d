//! Ways to break an endpoint. The check must report each one under the promise that it breaks.

use attest::{key::Key, settings::MAX_TRACE_BYTES};
use axum::http::Method;
use serde_json::{Value, json};

use super::proxy::{KEY, Reply, Seen};

/// The changes that the proxy makes to each request and each response.
pub struct Break {
    pub promise: &'static str,
    pub request: fn(&mut Seen),
    pub reply: fn(&Seen, &mut Reply),
}

impl Break {
    pub fn needs_megabytes(&self) -> bool {
        [LIMIT, OVER, COMPARED, READ, BEYOND].contains(&self.promise)
    }
}

/// A break that changes only responses.
const fn reply(promise: &'static str, reply: fn(&Seen, &mut Reply)) -> Break {
    Break { promise, request: |_| {}, reply }
}

/// A break that changes only requests.
const fn request(promise: &'static str, request: fn(&mut Seen)) -> Break {
    Break { promise, request, reply: |_, _| {} }
}

/// A break that lets a missing or wrong API key pass.
const fn accepts(promise: &'static str, request: fn(&mut Seen)) -> Break {
    Break { promise, request, reply: |_, _| {} }
}

const NEW: &str = "a new trace gets 201";
const REPEATED: &str = "a repeated trace gets 200";
const CONFLICT: &str = "a different trace under a taken id gets 409";
const DEFAULTS: &str = "absent members get their defaults";
const NAMES: &str = "names are encoded in keys";
const IDEMPOTENT: &str = "an Idempotency-Key makes a trace without an id repeatable";
const EQUAL: &str = "of 64 equal traces at once, exactly one is stored";
const DIFFERENT: &str = "of 64 different traces under one id at once, exactly one is stored";
const NOT_UTF8: &str = "a body that is not UTF-8 gets 400 with its offset";
const NOT_JSON: &str = "a body that is not JSON gets 400 with line and column";
const REPEATED_NAME: &str = "a repeated name gets 400 with its pointer";
const SURROGATE: &str = "an unpaired surrogate gets 400";
const SCHEMA: &str = "a trace that violates the schema gets 400 with every pointer";
const NO_KEY: &str = "a trace without a valid key gets 400";
const CONTENT: &str = "no response quotes the content of a message";
const QUOTED_KEY: &str = "no response quotes an API key";
const MISSING: &str = "a missing API key gets 403";
const WRONG: &str = "a wrong API key gets 403";
const ROUTE: &str = "an unknown route gets 403 or 404 as problem details";
const METHOD: &str = "without an API key, methods other than POST get 403, 404 or 405";
const LIMIT: &str = "a trace at the size limit gets 201";
const OVER: &str = "a trace one byte over the size limit gets 413";
const COMPARED: &str = "large traces are compared whole";
const READ: &str = "large bodies are read to their last byte";
const GZIP: &str = "a gzip-compressed trace gets 201";
const DEFLATE: &str = "a deflate-compressed trace gets 201";
const ENCODING: &str = "an unknown Content-Encoding gets 415 as problem details";
const BEYOND: &str = "bodies of 7 MB and 11 MB get 413";
const SPANS: &str = "the span or log record of a model call is confirmed after its trace is stored";
const PROTECTED: &str = "spans and log records with a wrong API key, or without a required signature, get 403";
const BURST: &str = "a burst of 64 requests, some of them cold, is answered within 22 s";
const WARM: &str = "warm requests are answered within 5 s";

const MB: usize = 1_000_000;

/// Responds as if the trace were stored, with a receipt for the request's own trace.
fn stored(seen: &Seen, reply: &mut Reply, status: u16) {
    let trace: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
    let text = |name: &str| trace[name].as_str().unwrap_or_default().to_owned();
    let (id, fingerprint) = (text("id"), text("system_fingerprint"));
    let key = Key::new(&fingerprint, &id).map(|key| key.as_str().to_owned()).unwrap_or_default();
    let receipt = json!({"id": id, "object": "chat.trace", "system_fingerprint": fingerprint, "key": key});
    (reply.status, reply.body) = (status, receipt.to_string());
    reply.media_type("application/json");
}

fn edit(reply: &mut Reply, status: u16, change: impl FnOnce(&mut Value)) {
    if reply.status == status
        && let Ok(mut body) = serde_json::from_str(&reply.body)
    {
        change(&mut body);
        reply.body = body.to_string();
    }
}

fn replace(seen: &mut Seen, from: &str, to: &str) {
    if let Ok(text) = std::str::from_utf8(&seen.body) {
        seen.body = text.replacen(from, to, 1).into();
    }
}

fn has_content(seen: &Seen) -> bool {
    seen.text().contains("content")
}

fn authorize(seen: &mut Seen, is_accepted: bool) {
    if is_accepted {
        seen.set("x-api-key", KEY);
    }
}

/// A receipt for another client's trace.
pub const OTHER_KEY: Break =
    reply(NEW, |_, reply| edit(reply, 201, |receipt| receipt["key"] = "attest-check/other".into()));

pub const BREAKS: &[Break] = &[
    reply(NEW, |_, reply| {
        if reply.status == 201 {
            reply.status = 202;
        }
    }),
    reply(NEW, |_, reply| {
        if reply.status == 201 {
            reply.media_type("text/html");
        }
    }),
    reply(NEW, |_, reply| edit(reply, 201, |receipt| receipt["id"] = "other".into())),
    OTHER_KEY,
    reply(NEW, |_, reply| edit(reply, 201, |receipt| receipt["system_fingerprint"] = "other".into())),
    reply(NEW, |_, reply| edit(reply, 201, |receipt| receipt["object"] = "other".into())),
    reply(NEW, |_, reply| edit(reply, 201, |receipt| _ = receipt.as_object_mut().map(|of| of.remove("object")))),
    reply(NEW, |_, reply| edit(reply, 201, |receipt| receipt["status"] = "stored".into())),
    reply(NEW, |_, reply| {
        if reply.status == 201 {
            reply.body.pop();
        }
    }),
    reply(NEW, |seen, reply| {
        if seen.text().contains("e400") {
            reply.status = 400;
        }
    }),
    reply(REPEATED, |_, reply| {
        if reply.status == 200 {
            reply.status = 201;
        }
    }),
    reply(REPEATED, |_, reply| edit(reply, 200, |receipt| receipt["key"] = "attest-check/other".into())),
    reply(REPEATED, |seen, reply| {
        if reply.status == 200 && seen.body.ends_with(b" }") {
            reply.status = 409; // compares bytes
        }
    }),
    reply(CONFLICT, |seen, reply| {
        if reply.status == 409 {
            stored(seen, reply, 200);
        }
    }),
    reply(CONFLICT, |seen, reply| {
        if reply.status == 409 && seen.text().contains(r#""created":1,"#) {
            stored(seen, reply, 200); // compares only `created`
        }
    }),
    reply(CONFLICT, |seen, reply| {
        if reply.status == 409 && seen.text().contains("1.1e400") {
            stored(seen, reply, 200);
        }
    }),
    reply(CONFLICT, |seen, reply| {
        if reply.status == 409 && seen.text().contains(r#""texts""#) {
            stored(seen, reply, 200); // ignores unknown members
        }
    }),
    reply(CONFLICT, |seen, reply| {
        if reply.status == 409 && seen.text().contains(r#""role":"system""#) {
            stored(seen, reply, 201); // overwrites
        }
    }),
    reply(CONFLICT, |_, reply| {
        if reply.status == 409 {
            reply.media_type("application/json");
        }
    }),
    reply(CONFLICT, |_, reply| edit(reply, 409, |problem| problem["type"] = "urn:attest:problem:gateway".into())),
    reply(CONFLICT, |_, reply| edit(reply, 409, |problem| problem["detail"] = "The id \"other\" is taken.".into())),
    reply(CONFLICT, |_, reply| edit(reply, 409, |problem| problem["status"] = 412.into())),
    reply(DEFAULTS, |seen, reply| {
        if !seen.text().contains(r#""id""#) {
            edit(reply, 201, |receipt| (receipt["id"], receipt["key"]) = ("1".into(), "attest-check/1".into()));
        }
    }),
    request(DEFAULTS, |seen| {
        if !seen.text().contains("system_fingerprint") {
            replace(seen, "{", r#"{"system_fingerprint":"attest-check/none","#);
        }
    }),
    request(DEFAULTS, |seen| {
        if !seen.text().contains(r#""id""#) {
            replace(seen, "{", r#"{"object":"chat","#);
        }
    }),
    request(DEFAULTS, |seen| {
        if has_content(seen) && !seen.text().contains(r#""id""#) && !seen.headers.contains_key("idempotency-key") {
            seen.set("idempotency-key", "always the same");
        }
    }),
    reply(NAMES, |_, reply| reply.body = reply.body.replace("%2F", "/")),
    reply(NAMES, |_, reply| reply.body = reply.body.replace("%2E", ".")),
    request(NAMES, |seen| replace(seen, "Grüße", "Grüsse")),
    request(IDEMPOTENT, |seen| _ = seen.headers.remove("idempotency-key")),
    reply(IDEMPOTENT, |seen, reply| {
        if reply.status == 409 && seen.headers.contains_key("idempotency-key") {
            stored(seen, reply, 200);
        }
    }),
    request(IDEMPOTENT, |seen| {
        if let Some(key) = seen.headers.get("idempotency-key").and_then(|key| key.to_str().ok()) {
            let key = format!("my {key}");
            seen.set("idempotency-key", &key);
        }
    }),
    request(IDEMPOTENT, |seen| {
        if seen.headers.contains_key("idempotency-key") {
            replace(seen, r#""id":"#, r#""ignored":"#);
        }
    }),
    reply(EQUAL, |_, reply| {
        if reply.status == 200 {
            reply.status = 500;
        }
    }),
    reply(DIFFERENT, |seen, reply| {
        if reply.status == 409 {
            stored(seen, reply, 201);
        }
    }),
    reply(DIFFERENT, |seen, reply| {
        let created = ["7", "8", "9"].iter().any(|digit| seen.text().contains(&format!(r#""created":{digit},"#)));
        if reply.status == 409 && created {
            reply.status = 429;
        }
    }),
    // A gateway without binary media types.
    request(NOT_UTF8, |seen| {
        if !seen.headers.contains_key("content-encoding") && std::str::from_utf8(&seen.body).is_err() {
            seen.body = seen.text().into();
        }
    }),
    reply(NOT_UTF8, |_, reply| reply.body = reply.body.replace("at byte 1", "at byte 2")),
    reply(NOT_UTF8, |seen, reply| {
        if seen.body.ends_with(b"\x82") {
            reply.status = 201; // ignores the end of the body
        }
    }),
    reply(NOT_JSON, |_, reply| reply.body = reply.body.replace(r#""line":2"#, r#""line":1"#)),
    reply(NOT_JSON, |_, reply| reply.body = reply.body.replace(r#""column":2"#, r#""column":3"#)),
    request(NOT_JSON, |seen| {
        if let Some(end) = seen.text().find("\n{") {
            seen.body.truncate(end); // ignores what follows the first value
        }
    }),
    request(NOT_JSON, |seen| replace(seen, "},]", "}]")),
    reply(NOT_JSON, |seen, reply| {
        if seen.body.is_empty() {
            reply.status = 500;
        }
    }),
    reply(NOT_JSON, |_, reply| edit(reply, 400, |problem| problem["type"] = "about:blank".into())),
    reply(REPEATED_NAME, |_, reply| reply.body = reply.body.replace("/messages/0/role", "")),
    request(REPEATED_NAME, |seen| replace(seen, r#","\u00e9":2"#, "")),
    request(REPEATED_NAME, |seen| replace(seen, r#""created":1,"created":1"#, r#""created":1"#)),
    reply(REPEATED_NAME, |_, reply| reply.body = reply.body.replace("a~1b", "a/b")),
    reply(SURROGATE, |seen, reply| {
        if seen.text().contains(r"\ud83d") {
            stored(seen, reply, 201);
        }
    }),
    request(SURROGATE, |seen| replace(seen, r"\ude00", r"\ufffd")),
    reply(SCHEMA, |_, reply| reply.body = reply.body.replace(r#""pointer":"/created""#, r#""pointer":"""#)),
    reply(SCHEMA, |_, reply| {
        edit(reply, 400, |problem| _ = problem["errors"].as_array_mut().map(|errors| errors.truncate(1)));
    }),
    request(SCHEMA, |seen| replace(seen, r#""created":1.0"#, r#""created":1"#)),
    request(SCHEMA, |seen| replace(seen, r#""object":null"#, r#""object":"chat.trace""#)),
    reply(SCHEMA, |_, reply| {
        edit(reply, 400, |problem| {
            if problem["errors"].is_array() {
                problem["errors"][0]["detail"] = "".into();
            }
        });
    }),
    reply(SCHEMA, |_, reply| {
        if reply.status == 400 && reply.body.contains("pointer") {
            reply.status = 422;
        }
    }),
    reply(NO_KEY, |_, reply| {
        if reply.body.contains("no-key") {
            reply.status = 500;
        }
    }),
    request(NO_KEY, |seen| replace(seen, &"é".repeat(200), "e")),
    reply(CONTENT, |seen, reply| edit(reply, 400, |problem| problem["detail"] = seen.text().into())),
    reply(CONTENT, |seen, reply| {
        edit(reply, 409, |problem| problem["detail"] = format!("{} {}", problem["detail"], seen.text()).into());
    }),
    reply(CONTENT, |seen, reply| {
        if reply.status == 403 {
            reply.body = reply.body.replace("Forbidden:", &seen.text().replace('"', "'"));
        }
    }),
    reply(CONTENT, |seen, reply| {
        if reply.status == 201
            && let Some(at) = seen.text().find(r#""content":""#)
        {
            let start = seen.text()[at..].chars().take(40).collect::<String>();
            reply.headers.insert("x-debug", start.parse().expect("a value"));
        }
    }),
    reply(CONTENT, |seen, reply| {
        let text = seen.text();
        edit(reply, 413, |problem| problem["received"] = text[text.len().saturating_sub(200)..].into());
    }),
    reply(QUOTED_KEY, |seen, reply| {
        edit(reply, 403, |problem| {
            problem["detail"] = format!("The key {} is wrong.", seen.header("x-api-key")).into();
        });
    }),
    reply(QUOTED_KEY, |seen, reply| {
        if reply.status == 201 {
            reply.headers.insert("x-key", seen.headers["x-api-key"].clone());
        }
    }),
    accepts(MISSING, |seen| authorize(seen, !seen.headers.contains_key("x-api-key"))),
    accepts(MISSING, |seen| authorize(seen, seen.header("x-api-key").is_empty())),
    accepts(MISSING, |seen| authorize(seen, seen.path == "/prod/")),
    accepts(MISSING, |seen| authorize(seen, seen.query.contains(KEY))),
    reply(MISSING, |_, reply| {
        if reply.status == 403 {
            reply.media_type("text/html");
        }
    }),
    reply(MISSING, |_, reply| {
        if reply.status == 403 {
            reply.body.clear();
        }
    }),
    reply(MISSING, |_, reply| {
        if reply.status == 403 {
            reply.status = 401;
        }
    }),
    accepts(WRONG, |seen| authorize(seen, seen.headers.contains_key("x-api-key"))),
    accepts(WRONG, |seen| authorize(seen, seen.header("x-api-key").starts_with(&KEY[..8]))),
    accepts(WRONG, |seen| authorize(seen, seen.header("x-api-key").starts_with(KEY))),
    accepts(WRONG, |seen| {
        authorize(seen, !seen.header("x-api-key").is_empty() && KEY.starts_with(seen.header("x-api-key")));
    }),
    accepts(WRONG, |seen| authorize(seen, seen.header("x-api-key").len() == KEY.len())),
    accepts(WRONG, |seen| authorize(seen, seen.header("x-api-key").eq_ignore_ascii_case(KEY))),
    accepts(WRONG, |seen| authorize(seen, seen.header("x-api-key").get(1..) == Some(&KEY[1..]))),
    accepts(WRONG, |seen| authorize(seen, seen.path == "/prod/" && !seen.header("x-api-key").is_empty())),
    // A template that renders invalid JSON, for example because a variable does not exist.
    reply(ROUTE, |seen, reply| {
        if seen.path.contains("no/such/route") {
            r#"{"type":"urn:attest:problem:gateway","title":"T","status":,"detail":"D"}"#.clone_into(&mut reply.body);
        }
    }),
    reply(ROUTE, |seen, reply| {
        if seen.path.contains("no/such/route") {
            reply.status = 200;
        }
    }),
    reply(ROUTE, |seen, reply| {
        if seen.path.ends_with("/v1/traces") && seen.header("x-api-key").is_empty() {
            (reply.status, reply.body) = (200, "{}".to_owned());
        }
    }),
    reply(METHOD, |seen, reply| {
        if seen.method == Method::GET {
            (reply.status, reply.body) = (200, "[]".to_owned());
        }
    }),
    reply(METHOD, |seen, reply| {
        if seen.method == Method::HEAD {
            reply.status = 200;
        }
    }),
    request(METHOD, |seen| {
        if seen.method == Method::PUT {
            seen.method = Method::POST;
            seen.set("x-api-key", KEY);
        }
    }),
    reply(METHOD, |seen, reply| {
        if seen.method == Method::DELETE {
            (reply.status, reply.body) = (204, String::new());
        }
    }),
    reply(LIMIT, |seen, reply| {
        if seen.body.len() >= MAX_TRACE_BYTES {
            reply.status = 413;
        }
    }),
    reply(LIMIT, |seen, reply| {
        if seen.body.len() > MB {
            edit(reply, 201, |receipt| receipt["id"] = "other".into());
        }
    }),
    reply(OVER, |_, reply| {
        if reply.status == 413 {
            reply.status = 502;
        }
    }),
    reply(OVER, |_, reply| reply.body = reply.body.replace("4194305", "more")),
    request(OVER, |seen| {
        if seen.body.len() == MAX_TRACE_BYTES + 1 {
            replace(seen, "xx", "x");
        }
    }),
    reply(OVER, |_, reply| {
        if reply.status == 413 {
            reply.media_type("text/plain");
        }
    }),
    reply(COMPARED, |seen, reply| {
        if reply.status == 409 && seen.body.len() > MB && !seen.text()[..MB].contains("xy") {
            stored(seen, reply, 200); // compares only the first megabyte
        }
    }),
    reply(COMPARED, |seen, reply| {
        if reply.status == 409 && seen.body.len() > 2 * MB {
            stored(seen, reply, 200);
        }
    }),
    request(READ, |seen| {
        if seen.body.len() > MB {
            replace(seen, &"x".repeat(1024), "");
        }
    }),
    request(READ, |seen| {
        let (length, middle) = (seen.body.len(), seen.body.len() / 2);
        if length > MB && !seen.headers.contains_key("content-encoding") {
            seen.body = [&seen.body[..middle], &seen.body[middle + 1000..]].concat().into();
        }
    }),
    reply(READ, |seen, reply| {
        if seen.body.len() > 2 * MB {
            edit(reply, 400, |problem| problem["column"] = 1.into());
        }
    }),
    request(GZIP, |seen| {
        if seen.header("content-encoding") == "gzip" {
            seen.headers.remove("content-encoding");
        }
    }),
    reply(GZIP, |seen, reply| {
        if seen.header("content-encoding") == "gzip" && reply.status == 201 {
            reply.status = 200;
        }
    }),
    request(DEFLATE, |seen| {
        if seen.header("content-encoding") == "deflate" {
            seen.headers.remove("content-encoding");
        }
    }),
    // A gateway response without its Content-Type.
    reply(ENCODING, |_, reply| {
        if reply.status == 415 {
            reply.media_type("application/json");
        }
    }),
    request(ENCODING, |seen| {
        if seen.header("content-encoding") == "attest-check" {
            seen.headers.remove("content-encoding");
        }
    }),
    request(ENCODING, |seen| {
        if seen.header("content-encoding") == "gzip" && seen.body.starts_with(b"{") {
            seen.headers.remove("content-encoding");
        }
    }),
    reply(BEYOND, |seen, reply| {
        if seen.body.len() > 6 * MB {
            reply.status = 500;
        }
    }),
    request(BEYOND, |seen| {
        if seen.body.len() > 6 * MB {
            replace(seen, &"x".repeat(6 * MB), "");
        }
    }),
    request(SPANS, |seen| {
        if seen.path.ends_with("/v1/traces") {
            seen.body = "{}".into(); // confirms a span without storing it
        }
    }),
    request(SPANS, |seen| {
        if seen.path.ends_with("/v1/logs") {
            seen.body = "{}".into();
        }
    }),
    request(SPANS, |seen| {
        if seen.path.ends_with("/v1/traces") {
            replace(seen, "chat attest-check", "chat"); // does not keep the whole span
        }
    }),
    reply(SPANS, |seen, reply| {
        if seen.path.ends_with("/v1/traces") && reply.status == 200 {
            r#"{"partialSuccess":{"rejectedSpans":"1"}}"#.clone_into(&mut reply.body);
        }
    }),
    reply(SPANS, |seen, reply| {
        if seen.path.ends_with("/v1/traces") && reply.status == 200 {
            reply.status = 503;
        }
    }),
    accepts(PROTECTED, |seen| {
        authorize(seen, seen.path.ends_with("/v1/traces") && !seen.header("x-api-key").is_empty());
    }),
    accepts(PROTECTED, |seen| {
        authorize(seen, seen.path.ends_with("/v1/logs") && !seen.header("x-api-key").is_empty());
    }),
    reply(BURST, |_, reply| {
        if reply.status == 201 {
            reply.status = 503;
        }
    }),
    reply(WARM, |_, reply| {
        if reply.status == 201 {
            "{}".clone_into(&mut reply.body);
        }
    }),
];
