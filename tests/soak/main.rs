//! The soak test sends mixed requests through the built function while faults come and go. At the end, it reads
//! everything back.
//!
//! It ends after 100,000 requests or five minutes, whichever comes first. `BOOTSTRAP` selects another build, and
//! `SOAK_SECONDS` another duration.

use std::{
    collections::HashMap,
    env,
    process::Stdio,
    time::{Duration, Instant},
};

use hyper::body::Bytes;
use local_aws::{
    runtime_api::RuntimeApi,
    testing::{BUCKET, Bucket, Fault, FaultProxy},
};
use serde_json::{Value, json};

const REQUESTS: u64 = 100_000;
const SECONDS: u64 = 300;
/// The number of large traces at the start. They make the allocator reserve enough memory before memory is first
/// measured.
const LARGE_FIRST: u64 = 20;

/// The kind of a request, by the response that is expected while S3 is healthy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    New,
    Repeat,
    Conflict,
    Invalid,
}

#[tokio::main]
async fn main() {
    let seconds = env::var("SOAK_SECONDS").map_or(SECONDS, |seconds| seconds.parse().expect("a number of seconds"));
    let time = Duration::from_secs(seconds);
    let bucket = Bucket::new().await;
    let s3 = FaultProxy::before(bucket.address).await;
    let api = RuntimeApi::start().await.expect("a free port");

    let bootstrap = env::var("BOOTSTRAP").unwrap_or_else(|_| env!("CARGO_BIN_EXE_attest-lambda").to_owned());
    let mut function = tokio::process::Command::new(bootstrap)
        .env_clear()
        .env("AWS_LAMBDA_RUNTIME_API", api.address.to_string())
        .envs([("AWS_LAMBDA_FUNCTION_NAME", "soak"), ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")])
        .envs([("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"), ("AWS_REGION", "us-east-1"), ("BUCKET_NAME", BUCKET)])
        .envs([("AWS_ACCESS_KEY_ID", "local"), ("AWS_SECRET_ACCESS_KEY", "local")])
        .env("AWS_ENDPOINT_URL_S3", format!("http://{}", s3.address))
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the function starts");
    let pid = function.id().expect("it runs");

    let event: Value = serde_json::from_str(include_str!("../../events/minimal.json")).expect("an event");
    let mut random = Random(0x5eed);
    let mut stored: HashMap<String, String> = HashMap::new();
    let mut unknown: HashMap<String, String> = HashMap::new();
    let mut refused: Vec<String> = Vec::new();
    let mut ids: Vec<String> = Vec::new();
    let mut statuses: std::collections::BTreeMap<u64, u64> = std::collections::BTreeMap::new();
    let (start, mut said, mut memory_at_tenth, mut done) = (Instant::now(), Instant::now(), 0, 0);
    while done < REQUESTS && start.elapsed() < time {
        // S3 is healthy for a hundred requests, then faulty for a hundred. Both happen before memory is first measured.
        let fault = if done % 200 < 100 { None } else { fault(&mut random) };
        let kind = match random.below(20) {
            0 => Kind::Repeat,
            1 => Kind::Conflict,
            2..4 => Kind::Invalid,
            _ => Kind::New,
        };
        let (kind, id) = match kind {
            Kind::Repeat | Kind::Conflict if !ids.is_empty() => {
                (kind, ids[random.below(ids.len() as u64) as usize].clone())
            }
            Kind::Invalid => (kind, format!("invalid-{done}")),
            _ => (Kind::New, format!("id-{done}")),
        };
        let body = match kind {
            Kind::New => trace(&id, done < LARGE_FIRST, &mut random),
            Kind::Repeat => stored[&id].clone(),
            Kind::Conflict => stored[&id].replacen("\"created\":1", "\"created\":2", 1),
            Kind::Invalid => trace(&id, false, &mut random).replacen("\"created\":1", "\"created\":true", 1),
        };
        let mut event = event.clone();
        event["body"] = body.as_str().into();
        s3.next(fault.as_slice());
        let answer = api.invoke(Bytes::from(event.to_string())).await.expect("the function answers every event");
        s3.next(&[]);
        let answer: Value = serde_json::from_slice(&answer).expect("an answer is JSON");
        let status = answer["statusCode"].as_u64().expect("an answer has a status");
        *statuses.entry(status).or_default() += 1;
        match (kind, status) {
            (Kind::New, 201 | 200) => {
                ids.push(id.clone());
                stored.insert(id, body);
            }
            (Kind::Repeat, 200) | (Kind::Conflict, 409) => {}
            (Kind::Invalid, 400) => refused.push(id),
            (Kind::New, 503) if fault.is_some() => drop(unknown.insert(id, body)),
            (Kind::Repeat | Kind::Conflict, 503) if fault.is_some() => {}
            _ => panic!("{kind:?} with {fault:?} was answered {answer}"),
        }
        done += 1;
        if memory_at_tenth == 0 && (done >= REQUESTS / 10 || start.elapsed() >= time / 10) {
            memory_at_tenth = resident_kib(pid);
        }
        if said.elapsed() >= Duration::from_secs(5) {
            said = Instant::now();
            println!("{done} requests in {:?}, {statuses:?}, {} KiB resident", start.elapsed(), resident_kib(pid));
        }
    }
    let (took, memory) = (start.elapsed(), resident_kib(pid));
    assert!(function.try_wait().expect("its status is available").is_none(), "the function runs to the end");

    let (mut read, mut late) = (0, 0);
    let keys = bucket.keys().await;
    for key in &keys {
        let object = bucket.object(key).await;
        let id = key.strip_prefix("soak/").expect("every key has the fingerprint `soak`");
        assert!(!refused.iter().any(|refused| refused == id), "{key} was rejected but is stored");
        match stored.remove(id) {
            Some(sent) => assert_eq!(object, sent.into_bytes(), "{key} differs from the sent trace"),
            // After a 503 the trace may or may not be stored. If it is, it equals the sent one.
            None => {
                assert_eq!(
                    Some(object),
                    unknown.remove(id).map(String::into_bytes),
                    "{key} was never sent in this form"
                );
                late += 1;
            }
        }
        read += 1;
    }
    assert!(stored.is_empty(), "{} confirmed traces are not stored", stored.len());
    assert!(memory <= memory_at_tenth + memory_at_tenth / 10, "memory grew from {memory_at_tenth} to {memory} KiB");
    println!(
        "{}",
        json!({
            "requests": done, "seconds": took.as_secs_f64().round(), "statuses": statuses,
            "objects_read_back": read, "of_them_answered_503": late,
            "resident_kib_at_a_tenth": memory_at_tenth, "resident_kib_at_the_end": memory,
        })
    );
}

/// Returns a fault for one in three requests of a faulty period. Stalls are rare because each takes seconds.
fn fault(random: &mut Random) -> Option<Fault> {
    match random.below(3_000) {
        0 => Some(Fault::StallWithin),
        1 => Some(Fault::DeafAfter),
        2..200 => Some(Fault::Refuse(503, "SlowDown")),
        200..400 => Some(Fault::Refuse(409, "ConditionalRequestConflict")),
        400..600 => Some(Fault::CutAfterStored),
        600..700 => Some(Fault::CutBeforeRead),
        700..800 => Some(Fault::CutWithin),
        800..900 => Some(Fault::CloseAfter),
        900..1_000 => Some(Fault::Garbage),
        _ => None,
    }
}

/// Returns a complete trace of 100 bytes to about 20 KiB, and in one of 500 cases of about a megabyte.
fn trace(id: &str, large: bool, random: &mut Random) -> String {
    let length = if large || random.below(500) == 0 { 1_000_000 } else { random.below(200) * random.below(100) };
    let text: String = "Grüße, \"World\"\\n😀 ".chars().cycle().take(length as usize).collect();
    let content = Value::from(text);
    format!(
        r#"{{"model":"soak","created":1,"messages":[{{"role":"user","content":{content}}}],"id":"{id}","object":"chat.trace","system_fingerprint":"soak","n":{}.10}}"#,
        random.below(1_000_000)
    )
}

fn resident_kib(pid: u32) -> u64 {
    let output =
        std::process::Command::new("ps").args(["-o", "rss=", "-p", &pid.to_string()]).output().expect("ps runs");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("the function runs")
}

/// A random number generator (splitmix64) with a fixed seed, so that every run sends the same requests.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
