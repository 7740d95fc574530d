//! Tests that no place contains the text after random actions and a `forget` that is killed at random steps and
//! repeated.

use std::{fs, path::PathBuf};

use attest::place::ID_KEY;
use proptest::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

use super::{
    files,
    forget::assert_nothing_is_left,
    trace,
    versioned_s3::{VersionedS3, command, day, run},
    versions::assert_no_version_contains,
};
use crate::export::store_at;

const KEYS: usize = 5;

/// Where the traces and their lake are. Only a bucket can stop at a step.
#[derive(Debug, Clone, Copy)]
enum Places {
    Buckets,
    FolderAndBucket,
    Folders,
}

struct World {
    home: TempDir,
    s3: VersionedS3,
    url: String,
    places: Places,
}

impl World {
    async fn new(s3: VersionedS3, places: Places) -> Self {
        let url = s3.serve().await;
        Self { home: tempfile::tempdir().expect("a temporary folder"), s3, url, places }
    }

    fn traces(&self) -> [&'static str; 2] {
        if matches!(self.places, Places::Buckets) { ["--bucket", "traces"] } else { ["--folder", "traces"] }
    }

    fn lake(&self) -> &'static str {
        if matches!(self.places, Places::Folders) { "lake" } else { "s3://lake/lake" }
    }

    async fn sync(&self, retention_days: u8) {
        let days = retention_days.to_string();
        let options = ["lake", "sync", "-q", "-o", self.lake(), "--retention-days", &days];
        let (code, report) = run(self.home.path(), &self.url, &[&options[..], &self.traces()].concat()).await;
        assert_eq!(code, Some(0), "{report}");
    }

    fn forget(&self) -> Vec<&'static str> {
        let options = ["forget", "--text", "jane@example.com", "--lake", self.lake(), "--yes"];
        [&options[..], &self.traces()].concat()
    }

    fn store(&self, key: &str, object: String, number: u64) {
        match self.places {
            Places::Buckets => drop(self.s3.add("traces", key, Some(object.into()), day(number))),
            _ => store_at(self.home.path(), key, &object, day(number)),
        }
    }

    fn delete(&self, key: &str) {
        match self.places {
            Places::Buckets => drop(self.s3.add("traces", key, None, day(3))),
            // The key may have no file.
            _ => drop(fs::remove_file(self.home.path().join(format!("traces/{key}.json")))),
        }
    }

    /// Returns the contents of all stored traces, including old versions.
    fn contents(&self) -> Vec<String> {
        let versions = self.s3.versions().into_iter();
        let versions = versions.filter(|version| version.bucket == "traces" && version.key.starts_with("m/"));
        let bodies =
            versions.filter_map(|version| version.body).map(|body| String::from_utf8_lossy(&body).into_owned());
        let folder = self.home.path().join("traces/m");
        let traces = if folder.exists() { files(&folder) } else { Vec::new() };
        let read = |file: PathBuf| fs::read_to_string(file).expect("a trace");
        bodies.chain(traces.into_iter().map(read)).collect()
    }
}

#[derive(Debug, Clone)]
enum Action {
    /// Stores a trace of the person or of somebody else. A taken key gets another version.
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

/// Returns a trace that contains the text unchanged, with an escape, or in a JSON string.
fn of_jane(form: u8) -> String {
    let plain = trace("I am jane@example.com");
    match form {
        0 => plain,
        1 => plain.replace('@', "\\u0040"),
        _ => trace(&format!(r#"{{"customer": "{}"}}"#, r"jane\u0040example.com")),
    }
}

async fn perform(world: &World, action: &Action) {
    match action {
        Action::Store { key, person, day } => {
            world.store(&format!("m/{key}"), person.map_or_else(|| trace("another person"), of_jane), *day);
        }
        Action::Delete { key } => world.delete(&format!("m/{key}")),
        Action::Sync { retention_days } => world.sync(*retention_days).await,
    }
}

/// Runs `forget`, and kills it at a step. Returns whether it succeeded before that.
async fn forget_until(World { home, s3, url, .. }: &World, arguments: &[&str], step: usize) -> bool {
    s3.stop_at(step);
    let mut process = command(home.path(), url, arguments).spawn().expect("it starts");
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

/// Repeats a killed `forget`, and asserts that nothing is left of the traces.
async fn assert_forgotten(world: &World, is_complete: bool) {
    let home = world.home.path();
    let has_text = world.contents().iter().any(|json| json.contains("jane"));
    if !is_complete {
        let (code, error) = run(home, &world.url, &world.forget()).await;
        let found_nothing = code == Some(2) && error.contains("no trace of the lake matches") && !has_text;
        assert!(code == Some(0) || found_nothing, "{error}");
        assert_eq!(home.join("forgotten.json").exists(), code == Some(0));
    }
    assert!(!home.join("forgotten.keys.txt").exists(), "the list of keys is deleted");
    assert_no_version_contains(&world.s3, "jane");
    let folders = ["traces", "lake"].map(|name| home.join(name));
    let folders: Vec<_> = folders.iter().map(PathBuf::as_path).filter(|folder| folder.exists()).collect();
    assert_nothing_is_left(&folders, &["jane"]);
    let receipt = fs::read(home.join("forgotten.json")).unwrap_or_else(|_| b"{}".to_vec());
    let receipt: Value = serde_json::from_slice(&receipt).expect("JSON");
    assert!(!receipt.to_string().contains("jane"), "the receipt has no content");
    assert!(world.contents().iter().all(|json| json.contains("another person")));
}

async fn assert_forgotten_after(places: Places, actions: Vec<Action>, kills: Vec<usize>) {
    let world = World::new(VersionedS3::default(), places).await;
    // Without a trace, the folder would not exist yet.
    perform(&world, &Action::Store { key: KEYS, person: None, day: 0 }).await;
    world.sync(1).await;
    for action in &actions {
        perform(&world, action).await;
    }
    let mut is_complete = false;
    for step in kills {
        is_complete = is_complete || forget_until(&world, &world.forget(), step).await;
    }
    assert_forgotten(&world, is_complete).await;
}

fn kills() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1..150_usize, 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn after_a_random_program_and_kills_no_version_contains_the_text(actions in actions(), kills in kills()) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(assert_forgotten_after(Places::Buckets, actions, kills));
    }

    #[test]
    fn after_a_random_program_and_kills_no_file_of_a_folder_contains_the_text(
        places in prop_oneof![2 => Just(Places::FolderAndBucket), 1 => Just(Places::Folders)],
        actions in actions(),
        kills in kills(),
    ) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(assert_forgotten_after(places, actions, kills));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_killed_at_any_step_is_completed_by_a_repetition() {
    let template = World::new(VersionedS3::default(), Places::Buckets).await;
    // The id makes all copies of the bucket the same place, although their URLs differ.
    let id = "5f1c3b5e-6f0a-4a6e-9a54-0d8f3c1e2b7d\n";
    template.s3.add("traces", ID_KEY, Some(id.into()), day(0));
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
        perform(&template, action).await;
    }
    let mut kills = 0;
    // Consecutive steps are alike. A prime stride covers every kind of step.
    for step in (1..).step_by(11) {
        let world = World::new(VersionedS3::of(template.s3.versions()), Places::Buckets).await;
        let is_complete = forget_until(&world, &world.forget(), step).await;
        assert_forgotten(&world, is_complete).await;
        if is_complete {
            break;
        }
        kills += 1;
    }
    assert!(kills > 3, "{kills} kills");
}
