//! Tests exports that are started, killed and overlapped at random. `EXPORT_SEED` repeats a run, `EXPORT_ROUNDS` sets
//! its length.

use std::{env, fs, time::Duration};

use fastrand::Rng;
use tokio::{
    process::{Child, Command},
    time::sleep,
};

use super::{command, folder_of, lines, signal};

/// Returns a random number generator, whose numbers `EXPORT_SEED` repeats.
#[expect(clippy::print_stdout, reason = "the harness shows it for a failed test")]
pub fn random() -> Rng {
    let seed = env::var("EXPORT_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("EXPORT_SEED={seed}");
    Rng::with_seed(seed)
}

pub fn rounds() -> u64 {
    env::var("EXPORT_ROUNDS").map_or(8, |rounds| rounds.parse().expect("a number"))
}

/// Starts each command after a random delay, and kills or stops some of them. Returns the exit codes; a killed process
/// has none.
pub async fn overlap(random: &mut Rng, commands: impl IntoIterator<Item = Command>) -> Vec<Option<i32>> {
    let mut processes: Vec<Child> = Vec::new();
    for mut command in commands {
        sleep(Duration::from_millis(random.u64(..80))).await;
        processes.push(command.spawn().expect("it starts"));
    }
    let mut codes = Vec::new();
    for mut process in processes {
        if random.bool() {
            sleep(Duration::from_millis(random.u64(..300))).await;
        }
        match random.u64(..3) {
            0 => process.kill().await.expect("it can be killed"),
            1 if process.try_wait().expect("it can be queried").is_none() => signal(&process, "TERM"),
            _ => {}
        }
        let output = process.wait_with_output().await.expect("it ends");
        let code = output.status.code();
        assert!(matches!(code, None | Some(0 | 2)), "{code:?}: {}", super::stderr(&output));
        codes.push(code);
    }
    codes
}

#[tokio::test]
async fn overlapping_and_killed_exports_of_lines_are_complete_or_fail() {
    let mut random = random();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sources = [folder_of(700), folder_of(900)];
    let paths: Vec<_> = sources.iter().map(|source| source.path().join("traces").display().to_string()).collect();
    let output = folder.path().join("t.jsonl.zst");
    let expected = [super::lines_of(700), super::lines_of(900)];
    let export_of = |source: usize| vec!["-q", "-o", "t.jsonl.zst", "--folder", &paths[source]];
    for round in 0..rounds() {
        let chosen: Vec<usize> = (0..2 + random.u64(..3)).map(|_| random.usize(..2)).collect();
        let exports = chosen.iter().map(|source| command(folder.path(), &export_of(*source)));
        let codes = overlap(&mut random, exports).await;
        let done: Vec<_> = chosen.iter().zip(&codes).filter(|(_, code)| **code == Some(0)).collect();
        assert!(done.len() <= 1, "round {round}: only one run may write the file");
        if let Some((source, _)) = done.first() {
            assert!(lines(&output) == expected[**source], "round {round}: the file is complete and exact");
        }
        if output.exists() {
            assert!(expected.contains(&lines(&output)), "round {round}: a file with its name is complete");
            fs::remove_file(&output).expect("it exists");
        }
    }
    // One of the two exports may be unfinished, and only that one may continue.
    let mut completed = 0;
    for source in [0, 1, 0] {
        let code = super::run(folder.path(), &export_of(source)).await.status.code();
        if code == Some(0) {
            assert!(lines(&output) == expected[source]);
            fs::remove_file(&output).expect("it exists");
            completed += 1;
        }
    }
    assert!(completed >= 2);
}
