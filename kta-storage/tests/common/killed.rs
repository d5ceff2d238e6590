//! A process that writes until it is killed, and says what it was told.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Runs the ignored test of this name, in this same binary, as a process of its own, and kills it
/// at a random moment, so long after its first answer at most; gives what it was [told](tell).
pub fn run_and_kill(test: &str, environment: &[(&str, &str)], longest: Duration) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--ignored", "--nocapture"])
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.by_ref().map_while(Result::ok).find_map(told);
    let killer = std::thread::spawn(move || {
        let random = RandomState::new().build_hasher().finish();
        let longest = u64::try_from(longest.as_micros()).unwrap();
        std::thread::sleep(Duration::from_micros(random % longest));
        child.kill().unwrap();
        child.wait().unwrap();
    });
    let all = first
        .into_iter()
        .chain(lines.map_while(Result::ok).filter_map(told))
        .collect();
    killer.join().unwrap();
    all
}

/// Says that this was answered.
pub fn tell(what: impl core::fmt::Display) {
    writeln!(std::io::stdout().lock(), "told {what} .").unwrap();
}

fn told(line: String) -> Option<String> {
    // The last line may have been cut: it counts only with its end.
    Some(line.split_once("told ")?.1.strip_suffix(" .")?.to_owned())
}
