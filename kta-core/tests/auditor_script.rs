//! `scripts/verify_audit.py`, written apart from this crate, and the crate's own verifier must
//! agree on what is a whole export.

#![allow(clippy::print_stdout, reason = "a skipped test says so")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use ed25519_dalek::SigningKey;
use kta_core::audit::merkle::leaf_hash;
use kta_core::audit::{
    Event, Export, Label, LocalSigner, Log, Manifest, NoteKey, Outcome, Proof, Verifier,
    verify_export,
};
use kta_core::id::{ActorId, Digest, TenantId};
use kta_core::policy::Act;
use kta_core::time::Timestamp;

type Files = BTreeMap<String, Vec<u8>>;

const ORIGIN: &str = "log.example/invented";
const CERTIFICATE: &[u8] = b"{\"invented\":\"\xc3\xbc\"}";

fn signer(seed: u8) -> LocalSigner {
    LocalSigner::new(ORIGIN, SigningKey::from_bytes(&[seed; 32])).unwrap()
}

fn event(number: u64) -> Event {
    let [tenant, actor] = [b"firm".as_slice(), b"clerk"];
    let (tenant, actor) = (TenantId::derived(&[tenant]), ActorId::derived(&[actor]));
    Event::new(
        tenant,
        actor,
        Label::fixed("test"),
        Act::Certify,
        Outcome::Done,
    )
    .with("number", number)
}

/// An export of `size` entries, written by the key of `seed`; the entry in the middle records a
/// certificate, and its proof leads to a head that is older than the log's.
fn export(size: u64, seed: u8) -> Files {
    let signer = signer(seed);
    let mut log = Log::new(ORIGIN);
    let mut entries = Vec::new();
    let mut head = None;
    for number in 0..size {
        let mut event = event(number);
        if number == size / 2 {
            event = event.with("certificate", Digest::of(CERTIFICATE));
        }
        let at = Timestamp::from_timestamp(1_930_000_000 + number as i64, 0).unwrap();
        entries.push(log.record(event, at).unwrap());
        if number == size / 2 {
            head = Some(log.checkpoint(&signer).unwrap());
        }
    }
    let leaves: Vec<Digest> = entries.iter().map(|entry| leaf_hash(entry)).collect();
    let middle = (size / 2) as usize;
    let proof = Proof::create(&entries[middle], size / 2, &leaves[..], head.unwrap()).unwrap();
    let mut files = Files::new();
    let mut write = |path: &str, content: &[u8]| {
        files.insert(path.to_owned(), content.to_vec());
        Ok(())
    };
    let mut export = Export::new(&signer, &mut write).unwrap();
    entries
        .iter()
        .for_each(|entry| export.entry(entry).unwrap());
    let mut head = log.checkpoint(&signer).unwrap();
    let witness = LocalSigner::new("witness.example", SigningKey::from_bytes(&[99; 32])).unwrap();
    head.cosign(
        &witness,
        Timestamp::from_timestamp(1_930_000_000, 0).unwrap(),
    )
    .unwrap();
    export.checkpoint(&head).unwrap();
    export
        .certificate("invented.json", CERTIFICATE, &proof)
        .unwrap();
    export.finish().unwrap();
    files
}

/// Signs the list of files anew, as the holder of the key of `seed` can.
fn relisted(mut files: Files, seed: u8) -> Files {
    files.remove(Manifest::PATH);
    let mut manifest = Manifest::new(ORIGIN);
    files
        .iter()
        .for_each(|(path, content)| manifest.add(path, content).unwrap());
    let note = manifest.sign(&signer(seed)).unwrap();
    files.insert(Manifest::PATH.into(), note.to_string().into());
    files
}

fn accepted_here(files: &Files) -> bool {
    verify_export(files, &Verifier::new(NoteKey::of(&signer(1)).unwrap())).is_ok()
}

/// The script's verdict on a folder with these files, and what it printed.
fn script(files: &Files) -> (bool, String) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("auditor-{}-{number}", std::process::id()));
    for (path, content) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/verify_audit.py");
    let key = NoteKey::of(&signer(1)).unwrap().to_string();
    let run = Command::new("python3")
        .arg(script)
        .arg(&folder)
        .args(["--key", &key])
        .output()
        .unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(errors.is_empty(), "{errors}");
    (run.status.success(), String::from_utf8(run.stdout).unwrap())
}

fn python_is_missing() -> bool {
    let missing = Command::new("python3").arg("--version").output().is_err();
    if missing {
        println!("skipped: no python3 here");
    }
    missing
}

#[test]
fn both_accept_a_whole_export() {
    if python_is_missing() {
        return;
    }
    for size in [1, 2, 255, 256, 257, 600] {
        let files = export(size, 1);
        assert!(accepted_here(&files), "{size}");
        let (accepted, said) = script(&files);
        assert!(accepted, "{size}: {said}");
        assert!(
            said.contains(&format!("\nlog {size} entries, root ")),
            "{said}"
        );
        assert!(said.ends_with("OK\n"), "{said}");
    }
}

/// What is done to an export, and what the script must say of it.
type Mutation = (&'static str, fn(Files) -> Files, &'static str);

const MUTATIONS: &[Mutation] = &[
    (
        "changed",
        |files| change(files, "log/tile/0/000.p/9"),
        "was changed",
    ),
    (
        "changed certificate",
        |files| change(files, "certificates/invented.json"),
        "was changed",
    ),
    (
        "dropped",
        |files| without(files, "log/checkpoint"),
        "is missing",
    ),
    (
        "added",
        |files| with(files, "more.txt", b""),
        "more.txt is not listed",
    ),
    (
        "unlisted",
        |files| without(files, "manifest"),
        "manifest is missing",
    ),
    // From here on whoever does it also holds the key that signs the list of files.
    (
        "edited",
        |files| {
            relisted(
                entries(files, |all| {
                    replace(&mut all[2], "\"number\":2", "\"number\":3")
                }),
                1,
            )
        },
        "does not match",
    ),
    (
        "swapped",
        |files| relisted(entries(files, |all| all.swap(3, 4)), 1),
        "entry 3 carries another",
    ),
    (
        "repeated",
        |files| relisted(entries(files, |all| all[6] = all[5].clone()), 1),
        "entry 6 carries another",
    ),
    (
        "truncated",
        |files| relisted(entries(files, |all| drop(all.pop())), 1),
        "entry 8 is missing",
    ),
    (
        "appended",
        |files| relisted(entries(files, |all| all.push(b"{}".to_vec())), 1),
        "entry 9 stands after the end",
    ),
    (
        "not canonical",
        |files| relisted(entries(files, |all| replace(&mut all[1], ",", ", ")), 1),
        "entry 1 is not in its one written form",
    ),
    (
        "dated back",
        |files| {
            relisted(
                entries(files, |all| replace(&mut all[7], "2031-", "2030-")),
                1,
            )
        },
        "entry 7 is dated before",
    ),
    (
        "another certificate",
        |files| relisted(with(files, "certificates/invented.json", b"{}"), 1),
        "is not the one that the log recorded",
    ),
    (
        "proof dropped",
        |files| relisted(without(files, "certificates/invented.tlog-proof"), 1),
        "has no proof",
    ),
    (
        "forged proof",
        |files| {
            relisted(
                change_line(
                    files,
                    "certificates/invented.tlog-proof",
                    "index 4",
                    "index 5",
                ),
                1,
            )
        },
        "is not proved to be in the log",
    ),
    (
        "head of another key",
        |files| {
            relisted(
                with(files, "log/checkpoint", &export(9, 2)["log/checkpoint"]),
                1,
            )
        },
        "log/checkpoint: a signature by an unknown key",
    ),
    (
        "all by another key",
        |_| export(9, 2),
        "manifest: a signature by an unknown key",
    ),
    (
        "rolled back behind a proof",
        |files| {
            let older = export(3, 1)
                .into_iter()
                .filter(|(path, _)| path.starts_with("log/"));
            let mut files: Files = files
                .into_iter()
                .filter(|(path, _)| !path.starts_with("log/"))
                .collect();
            files.extend(older);
            relisted(files, 1)
        },
        "the log ends before",
    ),
];

#[test]
fn both_refuse_the_same_mutations() {
    if python_is_missing() {
        return;
    }
    for (name, mutation, expected) in MUTATIONS {
        let files = mutation(export(9, 1));
        assert!(!accepted_here(&files), "{name}");
        let (accepted, said) = script(&files);
        assert!(!accepted, "{name}");
        assert!(
            said.starts_with("FAULT: ") && said.contains(expected),
            "{name}: {said}"
        );
    }
}

#[test]
fn both_refuse_flipped_bytes_all_over_an_export() {
    if python_is_missing() {
        return;
    }
    let good = export(2, 1);
    for (path, content) in &good {
        // Every seventh byte here; the unit tests of the crate try every one.
        for at in (0..content.len()).step_by(content.len().div_ceil(7)) {
            let mut files = good.clone();
            files.get_mut(path).unwrap()[at] ^= 4;
            assert!(!accepted_here(&files), "{path} byte {at}");
            assert!(!script(&files).0, "{path} byte {at}");
        }
    }
}

fn change(mut files: Files, path: &str) -> Files {
    files.get_mut(path).unwrap()[5] ^= 1;
    files
}

fn change_line(mut files: Files, path: &str, from: &str, to: &str) -> Files {
    replace(files.get_mut(path).unwrap(), from, to);
    files
}

fn with(mut files: Files, path: &str, content: &[u8]) -> Files {
    files.insert(path.to_owned(), content.to_vec());
    files
}

fn without(mut files: Files, path: &str) -> Files {
    files.remove(path).unwrap();
    files
}

fn replace(content: &mut Vec<u8>, from: &str, to: &str) {
    let text = String::from_utf8(content.clone()).unwrap();
    assert!(text.contains(from), "{text}");
    *content = text.replacen(from, to, 1).into_bytes();
}

/// Rewrites the one bundle of a small log.
fn entries(mut files: Files, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Files {
    let bundle = files.get_mut("log/tile/entries/000.p/9").unwrap();
    let mut all = Vec::new();
    let mut rest = bundle.as_slice();
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (entry, after) = after.split_at(u16::from_be_bytes(*length).into());
        all.push(entry.to_vec());
        rest = after;
    }
    change(&mut all);
    bundle.clear();
    for entry in all {
        bundle.extend((entry.len() as u16).to_be_bytes());
        bundle.extend(entry);
    }
    files
}
