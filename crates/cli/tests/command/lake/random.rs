//! `forget` after random programs, killed at random steps: afterwards no place contains the text.

use std::{fs, path::Path};

use attest::place::ID_KEY;
use proptest::prelude::*;
use serde_json::Value;

use super::{
    trace,
    versioned_s3::{VersionedS3, command, day, run},
    versions::assert_no_version_contains,
};

const KEYS: usize = 5;

const SYNC: [&str; 8] = ["lake", "sync", "-q", "--bucket", "traces", "-o", "s3://lake/lake", "--retention-days"];

const FORGET: [&str; 8] =
    ["forget", "--text", "jane@example.com", "--bucket", "traces", "--lake", "s3://lake/lake", "--yes"];

#[derive(Debug, Clone)]
enum Action {
    /// Stores a trace of a person, or of somebody else. A key that is taken gets another version.
    Store { key: usize, person: Option<u8>, day: u64 },
    /// Deletes the current version.
    Delete { key: usize },
    /// Completes the lake. With a retention, replaced files stay.
    Sync { retention_days: u8 },
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let store = (0..KEYS, prop::option::of(0..3_u8), 0..2_u64);
    let action = prop_oneof![
        4 => store.prop_map(|(key, person, day)| Action::Store { key, person, day }),
        1 => (0..KEYS).prop_map(|key| Action::Delete { key }),
        2 => (0..2_u8).prop_map(|retention_days| Action::Sync { retention_days }),
    ];
    prop::collection::vec(action, 1..12)
}

/// Returns a trace that contains the text unchanged, with an escape, or in JSON in a string.
fn of_jane(form: u8) -> String {
    let plain = trace("I am jane@example.com");
    match form {
        0 => plain,
        1 => plain.replace('@', "\\u0040"),
        _ => trace(&format!(r#"{{"customer": "{}"}}"#, r"jane\u0040example.com")),
    }
}

async fn perform(folder: &Path, s3: &VersionedS3, url: &str, action: &Action) {
    match action {
        Action::Store { key, person, day: number } => {
            let object = person.map_or_else(|| trace("another person"), of_jane);
            s3.add("traces", &format!("m/{key}"), Some(object.into()), day(*number));
        }
        Action::Delete { key } => {
            s3.add("traces", &format!("m/{key}"), None, day(3));
        }
        Action::Sync { retention_days } => {
            let (code, report) = run(folder, url, &[&SYNC[..], &[&retention_days.to_string()]].concat()).await;
            assert_eq!(code, Some(0), "{report}");
        }
    }
}

/// Runs `forget` until it is killed at a step. Returns whether it ended before that.
async fn forget_until(folder: &Path, s3: &VersionedS3, url: &str, step: usize) -> bool {
    s3.stop_at(step);
    let mut process = command(folder, url, &FORGET).spawn().expect("it starts");
    let is_complete = tokio::select! {
        status = process.wait() => status.expect("it ends").success(),
        () = s3.stopped() => {
            process.kill().await.expect("it is killed");
            false
        }
    };
    s3.stop_at(0);
    is_complete
}

/// Repeats the command, and asserts that it completes what killed runs began.
async fn assert_forgotten(folder: &Path, s3: &VersionedS3, url: &str, is_complete: bool) {
    let has_text = s3.versions().iter().any(|version| {
        version.bucket == "traces"
            && version.body.as_ref().is_some_and(|body| String::from_utf8_lossy(body).contains("jane"))
    });
    if !is_complete {
        let (code, error) = run(folder, url, &FORGET).await;
        let found_nothing = code == Some(2) && error.contains("no trace of the lake matches") && !has_text;
        assert!(code == Some(0) || found_nothing, "{error}");
        assert_eq!(folder.join("forgotten.json").exists(), code == Some(0));
    }
    assert!(!folder.join("forgotten.keys.txt").exists(), "the list of keys is deleted");
    assert_no_version_contains(s3, "jane");
    let others =
        s3.versions().into_iter().filter(|version| version.bucket == "traces" && version.key.starts_with("m/"));
    let receipt = fs::read(folder.join("forgotten.json")).unwrap_or_else(|_| b"{}".to_vec());
    let receipt: Value = serde_json::from_slice(&receipt).expect("JSON");
    assert!(!receipt.to_string().contains("jane"), "the receipt has no content");
    for version in others.filter(|version| version.body.is_some()) {
        assert!(String::from_utf8_lossy(&version.body.expect("a body")).contains("another person"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn after_a_random_program_and_kills_no_version_contains_the_text(
        actions in actions(),
        kills in prop::collection::vec(1..150_usize, 0..3),
    ) {
        tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let s3 = VersionedS3::default();
            let url = s3.serve().await;
            perform(folder.path(), &s3, &url, &Action::Sync { retention_days: 1 }).await;
            for action in &actions {
                perform(folder.path(), &s3, &url, action).await;
            }
            let mut is_complete = false;
            for step in kills {
                is_complete = is_complete || forget_until(folder.path(), &s3, &url, step).await;
            }
            assert_forgotten(folder.path(), &s3, &url, is_complete).await;
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_killed_at_any_step_is_completed_by_a_repetition() {
    let template = VersionedS3::default();
    // The id makes each copy of the bucket the same place, although its URL differs.
    template.add("traces", ID_KEY, Some("5f1c3b5e-6f0a-4a6e-9a54-0d8f3c1e2b7d\n".into()), day(0));
    let url = template.serve().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    // A current trace, one with a replaced file, one with an old version, and one that is not in the lake.
    let store = |key: usize, person, day| Action::Store { key, person, day };
    let sync = Action::Sync { retention_days: 1 };
    let program = [
        store(0, Some(0), 0),
        store(1, Some(1), 0),
        store(2, None, 0),
        sync.clone(),
        Action::Delete { key: 1 },
        sync,
        store(2, None, 0),
        store(3, Some(2), 1),
    ];
    for action in &program {
        perform(folder.path(), &template, &url, action).await;
    }
    let mut kills = 0;
    // Consecutive steps are alike. A prime stride meets those of every kind.
    for step in (1..).step_by(11) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let s3 = VersionedS3::of(template.versions());
        let url = s3.serve().await;
        let is_complete = forget_until(folder.path(), &s3, &url, step).await;
        assert_forgotten(folder.path(), &s3, &url, is_complete).await;
        if is_complete {
            break;
        }
        kills += 1;
    }
    assert!(kills > 3, "{kills} kills");
}
