//! Storage promises: a trace is stored once, never overwrites another trace, and can be sent again.

use bytes::Bytes;
use futures_util::future::join_all;
use uuid::Uuid;

use super::{
    answer::Answer,
    endpoint::Endpoint,
    probe::{FINGERPRINT, Trace},
    report::{Mismatch, Report, ensure},
};

pub const AT_ONCE: usize = 64;

/// Fingerprints and ids whose keys contain encoded parts (docs/api.md, "Stored object").
const NAMES: [(&str, &str); 5] =
    [("", "a/b"), ("/x/Y-1", "100%"), ("/../..", "."), ("//", "Grüße und 日本語"), ("/a b", "!-_.*'():@+=,~\"\\")];

pub struct Stored {
    pub key: String,
    pub bytes: Bytes,
}

impl Stored {
    pub fn of(trace: &Trace) -> Self {
        Self { key: trace.key().unwrap_or_default(), bytes: trace.json.clone().into() }
    }
}

/// Checks the promises. Returns the first stored trace.
pub async fn check(endpoint: &Endpoint, report: &mut Report) -> Option<Stored> {
    // The digits, the escape and the white space must not change.
    let trace = endpoint.new_trace().with_member(r#" "number": 1.10e400, "text": "\u00e9 é""#);
    let first = endpoint.store(&trace, 201).await;
    let stored = first.is_ok().then(|| Stored::of(&trace));
    report.add("a new trace gets 201", first.map(drop));
    report.add("a repeated trace gets 200", repeated(endpoint, &trace).await);
    report.add("a different trace under a taken id gets 409", conflicts(endpoint, &trace).await);
    report.add("absent members get their defaults", defaults(endpoint).await);
    report.add("names are encoded in keys", names(endpoint).await);
    report.add("an Idempotency-Key makes a trace without an id repeatable", idempotent(endpoint).await);
    report.add("of 64 equal traces at once, exactly one is stored", equal_at_once(endpoint).await);
    report.add("of 64 different traces under one id at once, exactly one is stored", different_at_once(endpoint).await);
    stored
}

/// Repeats a trace: unchanged, and with different white space and member order.
async fn repeated(endpoint: &Endpoint, trace: &Trace) -> Result<(), Mismatch> {
    endpoint.store(trace, 200).await?;
    let moved = trace.with(&format!(r#""id":"{}","#, trace.id), "");
    let open = moved.json.strip_suffix('}').unwrap_or_default();
    let json = format!(r#"{open} , "id": "{}" }}"#, trace.id);
    endpoint.store(&Trace { json, ..moved }, 200).await.map(drop)
}

/// Sends copies of a stored trace, each with one change.
async fn conflicts(endpoint: &Endpoint, trace: &Trace) -> Result<(), Mismatch> {
    let secret = &endpoint.secret;
    let (start, end) = (format!("~{}", &secret[1..]), format!("{}~", &secret[..secret.len() - 1]));
    let longer = format!("{secret} ");
    let places = [
        (r#""created":1"#, r#""created":2"#),
        (secret.as_str(), &start),
        (secret, &end),
        (secret, &longer),
        (secret, ""),
        (r#""role":"user""#, r#""role":"system""#),
        (r#""role":"user""#, r#""role":"user","name":"n""#),
        ("[{", r#"[{"role":"user","content":""},{"#),
        (r#""model":"attest-check""#, r#""model":"attest-check-2""#),
        ("1.10e400", "1.1e400"),
        (r"\u00e9 é", "é é"),
        (r#""text":"#, r#""texts":"#),
        (r#""object":"chat.trace""#, r#""object":"chat.other""#),
        (r#""created":1"#, r#""created":1,"usage":{}"#),
    ];
    for (from, to) in places {
        conflict(endpoint, &trace.with(from, to)).await?;
    }
    Ok(())
}

pub async fn conflict(endpoint: &Endpoint, trace: &Trace) -> Result<(), Mismatch> {
    is_conflict(&endpoint.send_trace(trace, endpoint.request(trace.json.clone())).await?, trace)
}

fn is_conflict(answer: &Answer, trace: &Trace) -> Result<(), Mismatch> {
    let detail = answer.problem(409, &["taken"])?["detail"].to_string();
    ensure(detail.contains(&trace.id), format!("the id {} in detail", trace.id), detail)
}

/// Stores a trace without the members that have defaults. Its id must be random.
async fn defaults(endpoint: &Endpoint) -> Result<(), Mismatch> {
    let json = format!(
        r#"{{"model":"{FINGERPRINT}","created":1,"messages":[{{"role":"user","content":"{}"}}]}}"#,
        endpoint.secret
    );
    let mut ids = Vec::new();
    for _ in 0..2 {
        let answer = endpoint.send(endpoint.request(json.clone())).await?;
        let receipt = answer.json(201, "application/json")?;
        let id = receipt["id"].as_str().unwrap_or_default().to_owned();
        let is_random = Uuid::parse_str(&id).is_ok_and(|uuid| uuid.get_version_num() == 4 && uuid.to_string() == id);
        ensure(is_random && !ids.contains(&id), "a new UUID of version 4", format!("the id {id:?}"))?;
        let trace = Trace { json: json.clone(), id: id.clone(), fingerprint: FINGERPRINT.to_owned() };
        endpoint.remember(trace.key().unwrap_or_default());
        answer.receipt(201, &trace)?;
        ids.push(id);
    }
    Ok(())
}

async fn names(endpoint: &Endpoint) -> Result<(), Mismatch> {
    for (fingerprint, id) in NAMES {
        let trace = endpoint.trace(&format!("{FINGERPRINT}/{}{fingerprint}", Uuid::new_v4()), id);
        endpoint.store(&trace, 201).await?;
        endpoint.store(&trace, 200).await?;
    }
    Ok(())
}

async fn idempotent(endpoint: &Endpoint) -> Result<(), Mismatch> {
    for key in [Uuid::new_v4().to_string(), format!("order 17: {}", Uuid::new_v4())] {
        let trace = endpoint.trace_without_id(&Uuid::new_v5(&Uuid::NAMESPACE_OID, key.as_bytes()).to_string());
        for status in [201, 200] {
            with_key(endpoint, &trace, &key).await?.receipt(status, &trace)?;
        }
        for other in [trace.with(r#""created":1"#, r#""created":2"#), trace.with(&endpoint.secret, "other")] {
            is_conflict(&with_key(endpoint, &other, &key).await?, &trace)?;
        }
        // The id of a trace takes precedence.
        let named = endpoint.new_trace();
        with_key(endpoint, &named, &key).await?.receipt(201, &named)?;
    }
    Ok(())
}

async fn with_key(endpoint: &Endpoint, trace: &Trace, key: &str) -> Result<Answer, Mismatch> {
    let mut request = endpoint.request(trace.json.clone());
    request.headers.push(("idempotency-key", key));
    endpoint.send_trace(trace, request).await
}

async fn equal_at_once(endpoint: &Endpoint) -> Result<(), Mismatch> {
    at_once(endpoint, vec![endpoint.new_trace(); AT_ONCE], 200).await
}

async fn different_at_once(endpoint: &Endpoint) -> Result<(), Mismatch> {
    let trace = endpoint.new_trace();
    let traces = (1..=AT_ONCE).map(|created| trace.with(r#""created":1"#, &format!(r#""created":{created}"#)));
    let traces: Vec<_> = traces.collect();
    at_once(endpoint, traces, 409).await
}

/// Sends traces concurrently. Exactly one must get 201, and all others the status `others`. The stored trace must be
/// the one that got 201.
async fn at_once(endpoint: &Endpoint, traces: Vec<Trace>, others: u16) -> Result<(), Mismatch> {
    let answers = traces.iter().map(|trace| endpoint.send_trace(trace, endpoint.request(trace.json.clone())));
    let answers: Vec<_> = join_all(answers).await.into_iter().collect::<Result<_, _>>()?;
    let mut statuses = std::collections::BTreeMap::<u16, usize>::new();
    for answer in &answers {
        *statuses.entry(answer.status).or_default() += 1;
    }
    let expected = [(201, 1), (others, AT_ONCE - 1)].into();
    ensure(statuses == expected, counts(&expected), counts(&statuses))?;
    for (answer, trace) in answers.iter().zip(&traces) {
        match answer.status {
            409 => is_conflict(answer, trace)?,
            status => answer.receipt(status, trace)?,
        }
    }
    let stored = answers.iter().zip(&traces).find(|(answer, _)| answer.status == 201);
    match stored {
        Some((_, trace)) => endpoint.store(trace, 200).await.map(drop),
        None => Ok(()),
    }
}

fn counts(statuses: &std::collections::BTreeMap<u16, usize>) -> String {
    let counts: Vec<_> = statuses.iter().map(|(status, count)| format!("{count} × {status}")).collect();
    counts.join(", ")
}
