//! Access promises: only a POST to the endpoint's path with its API key stores a trace, and no response repeats a
//! secret.

use reqwest::Method;
use uuid::Uuid;

use super::{
    endpoint::{Endpoint, Sent},
    probe::Trace,
    report::{Mismatch, Report, ensure},
};

/// Checks the promises. [`quotations`] must follow after all requests have been sent.
pub async fn check(endpoint: &Endpoint, report: &mut Report) {
    report.add("a missing API key gets 403", missing_key(endpoint).await);
    report.add("a wrong API key gets 403", wrong_keys(endpoint).await);
    report.add("an unknown route gets 403 or 404 as problem details", unknown_routes(endpoint).await);
    report.add("without an API key, methods other than POST get 403, 404 or 405", other_methods(endpoint).await);
    if endpoint.is_signed() {
        report.add(UNSIGNED, unsigned(endpoint).await);
    } else {
        report.not_checked(UNSIGNED, "requests are not signed");
    }
}

const UNSIGNED: &str = "an unsigned request with a valid API key gets 403";

/// Adds the promises that concern all responses of the check.
pub fn quotations(endpoint: &Endpoint, report: &mut Report) {
    let [content, key] = endpoint.quotations();
    let none = |found: Option<String>| found.map_or(Ok(()), |place| Err(Mismatch::new("no quotation", place)));
    report.add("no response quotes the content of a message", none(content));
    report.add("no response quotes an API key", none(key));
}

/// Sends a valid trace, which must get 403.
async fn forbidden(endpoint: &Endpoint, sent: Sent<'_>, trace: &Trace, what: &str) -> Result<(), Mismatch> {
    let place = format!("{what} at /{}", sent.path.trim_start_matches('/'));
    let answer = endpoint.send_trace(trace, Sent { body: trace.json.clone().into(), ..sent }).await?;
    let problem = answer.problem(403, &["forbidden", "gateway"]).map(drop);
    problem.map_err(|of| Mismatch::new(of.expected, format!("{} for {place}", of.actual)))
}

async fn missing_key(endpoint: &Endpoint) -> Result<(), Mismatch> {
    let query = format!("?x-api-key={key}&api_key={key}", key = endpoint.api_key);
    for path in ["", "/", &query] {
        let trace = endpoint.new_trace();
        let mut request = Sent { api_key: None, path, ..endpoint.request("") };
        forbidden(endpoint, request, &trace, "no API key").await?;
        request = Sent { api_key: Some(""), path, ..endpoint.request("") };
        forbidden(endpoint, request, &trace, "an empty API key").await?;
    }
    Ok(())
}

async fn wrong_keys(endpoint: &Endpoint) -> Result<(), Mismatch> {
    for (what, key) in almost(&endpoint.api_key) {
        for path in ["", "/"] {
            let request = Sent { api_key: Some(&key), path, ..endpoint.request("") };
            forbidden(endpoint, request, &endpoint.new_trace(), what).await?;
        }
    }
    Ok(())
}

/// Returns keys that a broken comparison would mistake for `key`.
fn almost(key: &str) -> Vec<(&'static str, String)> {
    let chars: Vec<char> = key.chars().collect();
    let some = |from: usize, to: usize| chars[from.min(chars.len())..to.min(chars.len())].iter().collect::<String>();
    let changed = |place: usize| {
        let mut chars = chars.clone();
        chars[place] = if chars[place] == 'a' { 'b' } else { 'a' };
        chars.into_iter().collect::<String>()
    };
    let last = chars.len() - 1;
    let swapped =
        chars.iter().map(|of| if of.is_lowercase() { of.to_ascii_uppercase() } else { of.to_ascii_lowercase() });
    let mut keys = vec![
        ("a random API key", Uuid::new_v4().to_string()),
        ("the API key without its last character", some(0, last)),
        ("the first 8 characters of the API key", some(0, 8)),
        ("the first half of the API key", some(0, chars.len() / 2)),
        ("the first character of the API key", some(0, 1)),
        ("the API key without its first character", some(1, usize::MAX)),
        ("the API key and one more character", format!("{key}a")),
        ("the API key twice", format!("{key}{key}")),
        ("the API key with another first character", changed(0)),
        ("the API key with another character in the middle", changed(last / 2)),
        ("the API key with another last character", changed(last)),
        ("another API key of the same length", "0".repeat(chars.len())),
        ("the API key in the other case", swapped.collect()),
        ("the API key backwards", chars.iter().rev().collect()),
        ("a wildcard as the API key", "*".to_owned()),
    ];
    keys.retain(|(_, of)| of != key && !of.is_empty());
    keys
}

async fn unknown_routes(endpoint: &Endpoint) -> Result<(), Mismatch> {
    // A deployed stack accepts OpenTelemetry at the last two, but only with the API key.
    let routes = [
        ("/attest-check/no/such/route", Some(&*endpoint.api_key)),
        ("/attest-check/no/such/route", None),
        ("/v1/traces", None),
        ("/v1/logs", None),
    ];
    for (path, api_key) in routes {
        let trace = endpoint.new_trace();
        let request = Sent { path, api_key, ..endpoint.request(trace.json.clone()) };
        let answer = endpoint.send_trace(&trace, request).await?;
        // For a route that does not exist, API Gateway returns 403 and other gateways 404.
        let expected = if answer.status == 404 { 404 } else { 403 };
        answer.problem(expected, &["forbidden", "gateway"])?;
    }
    Ok(())
}

async fn other_methods(endpoint: &Endpoint) -> Result<(), Mismatch> {
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
        for path in ["", "/"] {
            let trace = endpoint.new_trace();
            let request = Sent { method: method.clone(), path, api_key: None, ..endpoint.request(trace.json.clone()) };
            let answer = endpoint.send_trace(&trace, request).await?;
            let status = answer.status;
            ensure([403, 404, 405].contains(&status), "403, 404 or 405", format!("{method} gets {answer}"))?;
            if method != Method::HEAD {
                answer.problem(status, &["forbidden", "gateway"])?;
            }
        }
    }
    Ok(())
}

async fn unsigned(endpoint: &Endpoint) -> Result<(), Mismatch> {
    for path in ["", "/"] {
        let request = Sent { is_signed: false, path, ..endpoint.request("") };
        forbidden(endpoint, request, &endpoint.new_trace(), "no signature").await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_wrong_key_is_the_right_one() {
        for key in ["a", "*", "aa", "00000000", "key-of-the-check", "Größe"] {
            let keys = almost(key);
            assert!(keys.iter().all(|(_, of)| of != key && !of.is_empty()), "{key}: {keys:?}");
            assert!(keys.len() >= 3, "{key}: {keys:?}");
        }
    }
}
