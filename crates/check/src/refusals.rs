//! Refusal promises: each kind of invalid body gets 400 and problem details that locate the error.

use serde_json::Value;

use super::{
    endpoint::{Endpoint, texts},
    probe::expected_problem,
    report::{Mismatch, Report, ensure},
};

pub async fn check(endpoint: &Endpoint, report: &mut Report) {
    report.add("a body that is not UTF-8 gets 400 with its offset", not_utf8(endpoint).await);
    report.add("a body that is not JSON gets 400 with line and column", not_json(endpoint).await);
    report.add("a repeated name gets 400 with its pointer", repeated_name(endpoint).await);
    report.add("an unpaired surrogate gets 400", unpaired_surrogate(endpoint).await);
    report.add("a trace that violates the schema gets 400 with every pointer", against_the_schema(endpoint).await);
    report.add("a trace without a valid key gets 400", without_key(endpoint).await);
}

/// Sends a body that this program's handler refuses. The endpoint must report the same type, line, column and pointers.
pub async fn refused(endpoint: &Endpoint, body: impl AsRef<[u8]>, kind: &str) -> Result<Value, Mismatch> {
    let body = body.as_ref();
    let expected = expected_problem(body).ok_or_else(|| Mismatch::new("an invalid probe", "a valid one: a defect"))?;
    let problem = endpoint.send(endpoint.request(body.to_vec())).await?.problem(400, &[kind])?;
    for name in ["line", "column"] {
        ensure(
            problem[name] == expected[name],
            format!("{name} {}", expected[name]),
            format!("{name} {}", problem[name]),
        )?;
    }
    let [expected, found] = [&expected, &problem].map(|of| texts(&of["errors"], "pointer"));
    ensure(found == expected, format!("pointers at {expected:?}"), format!("pointers at {found:?}"))?;
    let details = texts(&problem["errors"], "detail");
    ensure(
        details.len() == found.len() && !details.contains(&""),
        "a detail for each pointer",
        problem["errors"].to_string(),
    )?;
    Ok(problem)
}

async fn not_utf8(endpoint: &Endpoint) -> Result<(), Mismatch> {
    // If API Gateway treated the body as text, it would replace the bytes before the function receives them.
    let bodies = [
        &b"\xff"[..],
        b"{\"model\":\"\xff\"}",
        b"{\"model\":\"\xc3\xa9 \xed\xa0\xbd\"}",
        b"{\"model\":\"m\", \"\xc0\xaf\"",
        b"{\"model\":\"m\"}\xe2\x82",
    ];
    for body in bodies {
        let offset = std::str::from_utf8(body).err().map_or(0, |error| error.valid_up_to());
        has_offset(&refused(endpoint, body, "not-utf8").await?, offset)?;
    }
    Ok(())
}

/// Requires that the detail of a problem contains an offset.
pub fn has_offset(problem: &Value, offset: usize) -> Result<(), Mismatch> {
    let detail = problem["detail"].as_str().unwrap_or_default();
    let has_offset = detail.split(|of: char| !of.is_ascii_digit()).any(|number| number == offset.to_string());
    ensure(has_offset, format!("the offset {offset} in detail"), detail)
}

async fn not_json(endpoint: &Endpoint) -> Result<(), Mismatch> {
    let whole = endpoint.new_trace().json;
    let (cut, twice) = (&whole[..whole.len() - 1], format!("{whole}\n{whole}"));
    let comma = whole.replace("}]", "},]");
    let bodies =
        ["{\"model\":\n oops}", "", "{", cut, &twice, &comma, "{\"a\":NaN}", "{\"a\":01}", "{'a':1}", "{\"a\":\"\t\"}"];
    for body in bodies {
        let problem = refused(endpoint, body, "not-json").await?;
        let has_place = problem["line"].is_u64() && problem["column"].is_u64();
        ensure(has_place, "line and column", problem.to_string())?;
    }
    Ok(())
}

async fn repeated_name(endpoint: &Endpoint) -> Result<(), Mismatch> {
    let trace = endpoint.new_trace();
    let repeated = [
        trace.with(r#""content""#, r#""role":"user","content""#),
        trace.with(r#""created":1"#, r#""created":1,"created":1"#),
        trace.with_member(r#""a/b":{"~":[0,{"é":1,"\u00e9":2}]}"#),
    ];
    for trace in repeated {
        refused(endpoint, trace.json, "invalid").await?;
    }
    Ok(())
}

async fn unpaired_surrogate(endpoint: &Endpoint) -> Result<(), Mismatch> {
    let trace = endpoint.new_trace();
    for escape in [r"\ud83d", r"\ude00", r"\ud83d\ud83d", r"\ud83dx"] {
        refused(endpoint, trace.with(&endpoint.secret, escape).json, "not-json").await?;
    }
    refused(endpoint, trace.with_member(r#""\udead":1"#).json, "not-json").await.map(drop)
}

async fn against_the_schema(endpoint: &Endpoint) -> Result<(), Mismatch> {
    let (trace, secret) = (endpoint.new_trace(), &endpoint.secret);
    let text = format!(r#""created":"{secret}""#);
    let changed = [
        (r#""created":1"#, text.as_str()),
        (r#""created":1"#, r#""created":1.0"#),
        (r#""created":1,"#, ""),
        (r#""model":"attest-check","#, ""),
        (r#""role":"user""#, r#""role":"tool""#),
        (r#""role":"user","#, ""),
        (r#""object":"chat.trace""#, r#""object":null"#),
        ("[{", "[[],{"),
        (r#""created":1"#, r#""created":1,"usage":[],"choices":"c""#),
    ];
    let changed = changed.into_iter().map(|(from, to)| trace.with(from, to).json);
    let others = [
        r#"{"model":7,"created":1.0,"messages":[{"role":"user"}]}"#.to_owned(),
        format!(r#"{{"model":"m","created":1,"messages":["{secret}",{{"role":"{secret}","content":[]}}]}}"#),
        r#"{"model":"m","created":1,"messages":{}}"#.to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        format!(r#""{secret}""#),
    ];
    for body in changed.chain(others) {
        refused(endpoint, body, "invalid").await?;
    }
    Ok(())
}

async fn without_key(endpoint: &Endpoint) -> Result<(), Mismatch> {
    for (fingerprint, id) in [("attest-check", ""), ("", "i"), ("attest-check", &*"é".repeat(200))] {
        refused(endpoint, endpoint.trace(fingerprint, id).json, "no-key").await?;
    }
    Ok(())
}
