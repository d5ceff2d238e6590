//! A short, repeatable run over every parser: real input, broken in every way that is cheap to
//! think of, gets an answer in bounded memory and time. The long runs are libFuzzer's, over the
//! same functions: see `fuzz/README.md`.
//!
//! Input that breaks a rule is kept under `target/tmp`, and the message says where.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a run says how far it came, a failure where its input lies"
)]

#[path = "../fuzz/src/lib.rs"]
mod parsers;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parsers::TARGETS;

#[test]
fn any_agency_form_is_a_rule_or_refused() {
    run("agency_register", files("kta-agency/register", ".toml"));
}

#[test]
fn any_certificate_is_read_as_written_or_refused() {
    run(
        "certificate",
        seeds(&["certificate.json", "certificate.note"]),
    );
}

#[test]
fn any_signed_note_says_what_was_signed_or_is_refused() {
    let names = ["audit.vkey", "checkpoint", "entry.tlog-proof", "manifest"];
    run("checkpoint_note", seeds(&names));
}

#[test]
fn any_configured_address_is_encrypted_or_refused() {
    let plain = [
        "http://localhost:8080",
        "http://127.0.0.1:9",
        "http://[::1]:4010",
    ];
    let safe = [
        "https://www.zohoapis.eu",
        "https://user-1.example:8443/",
        "HTTPS://ＥＸＡＭＰＬＥ.com",
    ];
    let seeds = plain
        .into_iter()
        .chain(safe)
        .map(|line| line.as_bytes().to_vec());
    run("config", seeds.collect());
}

#[test]
fn any_text_is_scanned_without_an_offset_that_lies() {
    let texts = [
        "Client Testa Muster, SSN 123-45-6789, born 12 April 1988, testa.muster@example.org",
        "ת.ז. 000000018, passport KT0000017; (212) 555-0142; A123456782 | IOE0123456789",
        "name,ssn,phone\nTesta Muster,123-45-6789,+1 202 555 0117\n",
    ];
    let mut seeds: Vec<Vec<u8>> = texts.map(|text| text.as_bytes().to_vec()).into();
    seeds.extend(files("fuzz/seeds", ".mrz"));
    run("dlp_text", seeds);
}

#[test]
fn any_sealed_bytes_open_only_as_they_were_sealed() {
    let known = std::fs::read(root().join("kta-core/vectors/sealing.json")).unwrap();
    let known: serde_json::Value = serde_json::from_slice(&known).unwrap();
    let cases = known["cases"].as_array().unwrap().iter();
    let written = cases.filter_map(|case| unhex(case["written"].as_str()?.as_bytes()));
    let envelopes: Vec<_> = written.filter(|bytes| parsers::envelope(bytes)).collect();
    assert_eq!(
        envelopes.len(),
        5,
        "the known answers are not where they were"
    );
    run("envelope", envelopes);
}

#[test]
fn any_form_post_is_taken_apart_or_refused() {
    let family = root().join("examples/family/form");
    let part = |name| std::fs::read(family.join(name)).unwrap();
    let real = [part("02-spouse.head"), part("02-spouse.body")].concat();
    let small = "POST / HTTP/1.1\r\nHost: intake.kta.example\r\n\
        Content-Type: multipart/form-data; boundary=b\r\n\r\n\
        --b\r\nContent-Disposition: form-data; name=\"family_name\"\r\n\r\nTesta\r\n\
        --b\r\nContent-Disposition: form-data; name=\"cv\"; filename=\"cv.txt\"\r\n\r\nhello\r\n--b--\r\n";
    run("form", vec![real, small.into()]);
}

#[test]
fn any_log_entry_is_in_its_one_form_or_refused() {
    run(
        "log_entry",
        files("fuzz/seeds", ".json")
            .into_iter()
            .filter(|seed| parsers::log_entry(seed))
            .collect(),
    );
}

#[test]
fn any_message_is_taken_apart_or_refused() {
    let small = [
        "From: a@example.org\nContent-Type: text/html\n\n<p>Hello <b>you</b></p>",
        "From: a@example.org\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\n\
         From: c@example.org\nContent-Type: multipart/mixed; boundary=c\n\n--c\nContent-Type: application/pdf; name=x.pdf\n\
         Content-Transfer-Encoding: base64\n\nJVBERi0=\n--c--\n\n--b--\n",
        "Authentication-Results: mx.kta.example; dmarc=pass; spf=fail\nReceived: from a by mx.kta.example with ESMTPS \
         (TLS1.3); Mon, 2 Mar 2026 08:05:04 +0000\nFrom: =?utf-8?B?15TXoNeU?= <a@example.org>\n\
         Content-Type: text/plain; charset=iso-8859-8\nContent-Transfer-Encoding: quoted-printable\n\n=E9=E5=ED\n",
    ];
    let mut seeds = files("examples/family/mail", ".eml");
    seeds.extend(small.map(|text| text.as_bytes().to_vec()));
    run("mime", seeds);
}

#[test]
fn any_machine_readable_zone_has_its_check_digits_or_is_refused() {
    let zones = files("fuzz/seeds", ".mrz");
    let text = String::from_utf8(zones.concat()).unwrap();
    run(
        "mrz",
        text.split("\n\n")
            .map(|zone| zone.as_bytes().to_vec())
            .collect(),
    );
}

#[test]
fn any_retention_pack_is_law_or_refused() {
    let small = "[pack]\nid = \"test\"\nversion = \"1\"\nin_force_from = 2026-01-01\njurisdiction = \"us\"\nlanguage = [\"en\"]\n\
        approved_by = [\"attorney\", \"privacy\"]\n";
    let mut seeds = files("kta-policy/packs", ".toml");
    seeds.push(small.into());
    run("pack", seeds);
}

#[test]
fn any_policy_loads_and_decides_or_is_refused() {
    let texts = files("kta-policy/policies", ".cedar").concat();
    let texts = String::from_utf8(texts).unwrap();
    let policies = texts.split("\n\n").map(|text| text.as_bytes().to_vec());
    let mut seeds: Vec<_> = policies
        .filter(|text| parsers::policy(text))
        .take(6)
        .collect();
    assert!(
        seeds.len() == 6,
        "the shipped policies do not load one by one"
    );
    seeds.extend(files("kta-policy/policies", ".cedarschema"));
    run("policy", seeds);
}

/// Runs a target over its seeds, which it must accept, and over what becomes of them.
fn run(name: &str, seeds: Vec<Vec<u8>>) {
    let (_, target) = TARGETS
        .into_iter()
        .find(|(target, _)| *target == name)
        .expect("a target of that name");
    for seed in &seeds {
        assert!(
            target(seed),
            "{name} refuses a good input: {:?}",
            &String::from_utf8_lossy(seed)[..seed.len().min(80)]
        );
    }
    let mut random = Random::of(name);
    let (start, mut refused, mut cases) = (Instant::now(), 0, 0);
    while cases < MOST_CASES && (cases < LEAST_CASES || start.elapsed() < BUDGET) {
        let input = mutated(&seeds, &mut random);
        let began = Instant::now();
        let answer = catch_unwind(AssertUnwindSafe(|| target(&input)));
        let took = began.elapsed();
        if answer.is_err() || took > SLOWEST {
            let path = keep(name, cases, &input);
            eprintln!(
                "{name}, case {cases}: {took:?}, input kept in {}",
                path.display()
            );
            answer.map_or_else(|panic| resume_unwind(panic), |_| panic!("too slow"));
        }
        refused += usize::from(matches!(answer, Ok(false)));
        cases += 1;
    }
    println!(
        "{name}: {cases} cases, {refused} refused, {:?}",
        start.elapsed()
    );
    assert!(refused > 0, "{name} refused nothing");
    if let Some(peak) = peak_memory() {
        assert!(peak < MOST_MEMORY, "{name} took {peak} bytes");
    }
}

/// One to four changes to one of the seeds.
fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = bytes.len().min(at + random.below(64));
        match random.below(10) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let again = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, again));
            }
            3 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                drop(bytes.splice(at.., other[from..].iter().copied()));
            }
            4 | 5 => {
                let piece = PIECES[random.below(PIECES.len())].as_bytes();
                drop(bytes.splice(at..end.min(at + 1), piece.iter().copied()));
            }
            6 => {
                let piece = PIECES[random.below(PIECES.len())];
                let many = piece.repeat(1 << random.below(14));
                drop(bytes.splice(at..at, many.bytes().take(64 << 10)));
            }
            _ if at < bytes.len() => {
                bytes[at] = [random.byte(), bytes[at] ^ 1 << random.below(8)][random.below(2)]
            }
            _ => bytes.push(random.byte()),
        }
    }
    bytes
}

/// The most that this process ever held, where the system tells (Linux).
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

fn keep(name: &str, case: usize, input: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}-{case}"));
    std::fs::write(&path, input).unwrap();
    path
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn seeds(names: &[&str]) -> Vec<Vec<u8>> {
    names
        .iter()
        .map(|name| std::fs::read(root().join("fuzz/seeds").join(name)).unwrap())
        .collect()
}

/// The files of a folder with this ending, in the order of their names.
fn files(folder: &str, ending: &str) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(ending));
    paths.sort();
    assert!(!paths.is_empty(), "nothing in {folder}");
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let pairs = (0..text.len()).step_by(2).map(|at| text.get(at..at + 2));
    pairs
        .map(|pair| u8::from_str_radix(pair?, 16).ok())
        .collect()
}

/// SplitMix64: the same cases in every run.
struct Random(u64);

impl Random {
    fn of(name: &str) -> Self {
        let byte = |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte));
        Self(name.bytes().fold(1, byte))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap_or_default()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// What parsers stumble over: ends, nesting, escapes, other scripts, odd numbers.
const PIECES: [&str; 36] = [
    "",
    "\0",
    "\n",
    "\r\n",
    "\r\n\r\n",
    " ",
    "\t",
    "\"",
    "'",
    "\\",
    "\\u0000",
    "{",
    "}",
    "[",
    "[[",
    "]",
    "(",
    ")",
    "!",
    "-",
    "--",
    "--b\r\n",
    "=",
    "=?utf-8?B?",
    "%00",
    "../",
    "<",
    "<<",
    "0",
    "-1",
    "18446744073709551616",
    "1e999",
    "\u{202E}",
    "\u{FEFF}",
    "ﬀ",
    "𝟙",
];

const MOST_CASES: usize = 2_000;
const LEAST_CASES: usize = 50;
const BUDGET: Duration = Duration::from_secs(5);
/// A bound, not a measure: it must hold on a busy machine and without optimisation.
const SLOWEST: Duration = Duration::from_secs(20);
const MOST_MEMORY: u64 = 1 << 30;
