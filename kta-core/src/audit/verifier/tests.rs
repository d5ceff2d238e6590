//! That what was changed in an exported log is named.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::audit::{Log, testing, tiles};
use crate::refusal::Code;

type Files = BTreeMap<String, Vec<u8>>;

/// A log's files, made from whatever entries, under a head over `log`.
fn files(log: &Log, entries: &[Vec<u8>]) -> Files {
    let mut files: Files = tiles::tiles(entries).map(|file| file.unwrap()).collect();
    let head = log.checkpoint(&testing::signer()).unwrap();
    files.insert("checkpoint".into(), head.to_string().into());
    files
}

fn found(files: &Files) -> Result<VerifiedLog, Defect> {
    Verifier::new(testing::key()).verify(files, "")
}

fn first(log: &Log, entries: &[Vec<u8>]) -> Defect {
    found(&files(log, entries)).unwrap_err()
}

/// An attacker without the key: new entries, new tiles under their old names, the old head.
fn rehashed(log: &Log, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Defect {
    let (_, mut entries) = testing::log(log.size());
    change(&mut entries);
    assert_eq!(entries.len() as u64, log.size());
    first(log, &entries)
}

#[test]
fn a_whole_log_verifies_and_tells_its_span() {
    for size in [0, 1, 2, 255, 256, 257, 600] {
        let (log, entries) = testing::log(size);
        let mut seen = Vec::new();
        let good = Verifier::new(testing::key())
            .verify_each(&files(&log, &entries), "", &mut |entry, bytes| {
                assert_eq!(entry.seq, seen.len() as u64);
                seen.push(bytes.to_vec());
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, entries);
        assert_eq!((good.checkpoint.size, good.last_at), (size, log.last_at()));
    }
}

#[test]
fn dropped_swapped_and_repeated_entries_are_named() {
    let (log, _) = testing::log(300);
    let at = |index, found| Defect::Entry {
        index,
        flaw: EntryFlaw::Sequence { found },
    };
    assert_eq!(rehashed(&log, |entries| entries.swap(3, 4)), at(3, 4));
    assert_eq!(rehashed(&log, |entries| entries.swap(10, 280)), at(10, 280));
    assert_eq!(
        rehashed(&log, |entries| entries[9] = entries[8].clone()),
        at(9, 8)
    );
    let dropped = rehashed(&log, |entries| {
        let last = entries[299].clone();
        entries.remove(5);
        entries.push(last);
    });
    assert_eq!(dropped, at(5, 6));
}

#[test]
fn an_edited_entry_is_named_or_at_least_its_rehashed_tree_refused() {
    let (log, entries) = testing::log(300);
    let edited = |entries: &mut Vec<Vec<u8>>| {
        let text = String::from_utf8(entries[7].clone()).unwrap();
        entries[7] = text.replace("\"number\":7", "\"number\":8").into();
    };
    let mut bundle = files(&log, &entries);
    let mut changed = entries.clone();
    edited(&mut changed);
    let forged = files(&log, &changed);
    bundle.insert(
        "tile/entries/000".into(),
        forged["tile/entries/000"].clone(),
    );
    let defect = Defect::Entry {
        index: 7,
        flaw: EntryFlaw::Edited,
    };
    assert_eq!(found(&bundle), Err(defect));
    // With its leaf tile made to fit, the tile above tells; with all tiles, the root.
    bundle.insert("tile/0/000".into(), forged["tile/0/000"].clone());
    assert_eq!(
        found(&bundle),
        Err(Defect::Tile {
            path: "tile/1/000.p/1".into()
        })
    );
    assert_eq!(rehashed(&log, edited), Defect::Root { size: 300 });
    assert_eq!(
        rehashed(&log, |entries| entries[7][2] ^= 1),
        Defect::Entry {
            index: 7,
            flaw: EntryFlaw::Canonical
        }
    );
}

#[test]
fn time_going_back_is_named_even_when_all_is_signed() {
    let (_, mut entries) = testing::log(5);
    let text = String::from_utf8(entries[3].clone()).unwrap();
    entries[3] = text.replacen("2031-", "2030-", 1).into();
    let mut frontier = Frontier::new();
    entries
        .iter()
        .for_each(|entry| frontier.append(merkle::leaf_hash(entry)));
    let head = Checkpoint {
        origin: testing::ORIGIN.into(),
        size: 5,
        root: frontier.root(),
    };
    let head = SignedCheckpoint::sign(head, &testing::signer()).unwrap();
    let mut files: Files = tiles::tiles(&entries).map(|file| file.unwrap()).collect();
    files.insert("checkpoint".into(), head.to_string().into());
    let defect = Defect::Entry {
        index: 3,
        flaw: EntryFlaw::Time,
    };
    assert_eq!(found(&files), Err(defect));
}

#[test]
fn a_cut_tail_names_the_first_missing_entry() {
    let (log, entries) = testing::log(300);
    for kept in [0, 1, 255, 256, 257, 299] {
        let mut cut = files(&log, &entries);
        // The names stay as the head demands them; the bundles hold less.
        for n in 0..2 {
            let path = entries_path(n, tile_width(0, n, 300));
            let from = (n * WIDTH).min(kept) as usize;
            let to = ((n + 1) * WIDTH).min(kept) as usize;
            let rest = tiles::tiles(&entries[from..to]).map(|file| file.unwrap());
            let rest = rest.filter(|(path, _)| path.starts_with("tile/entries"));
            cut.insert(path, rest.flat_map(|(_, content)| content).collect());
        }
        let defect = Defect::Truncated {
            index: kept,
            size: 300,
        };
        assert_eq!(defect.code(), Code::AudTrunc);
        assert_eq!(found(&cut), Err(defect));
    }
    let mut gone = files(&log, &entries);
    gone.remove("tile/entries/001.p/44");
    assert_eq!(
        found(&gone),
        Err(Defect::Truncated {
            index: 256,
            size: 300
        })
    );
    let mut short = files(&log, &entries);
    short.get_mut("tile/entries/001.p/44").unwrap().pop();
    let defect = Defect::Entry {
        index: 299,
        flaw: EntryFlaw::Framing,
    };
    assert_eq!(found(&short), Err(defect));
    // Whoever cuts everything to fit has no signature for it.
    assert_eq!(
        first(&log, &entries[..299]),
        Defect::Truncated {
            index: 256,
            size: 300
        }
    );
}

#[test]
fn an_appended_entry_is_named() {
    let (_, longer) = testing::log(6);
    let (log, entries) = testing::log(5);
    let mut files = files(&log, &entries);
    let bundle = files.get_mut("tile/entries/000.p/5").unwrap();
    bundle.extend((longer[5].len() as u16).to_be_bytes());
    bundle.extend(&longer[5]);
    assert_eq!(found(&files), Err(Defect::Appended { index: 5 }));
    let (longer_log, _) = testing::log(6);
    let text = longer_log
        .checkpoint(&testing::signer())
        .unwrap()
        .to_string();
    let own = log.checkpoint(&testing::signer()).unwrap().to_string();
    let signature = own.lines().last().unwrap();
    let forged = text
        .lines()
        .take(4)
        .chain([signature])
        .map(|line| format!("{line}\n"));
    files.insert("checkpoint".into(), forged.collect::<String>().into());
    assert_eq!(
        found(&files).unwrap_err().to_string(),
        "checkpoint: the signature on line 5 is not valid"
    );
}

#[test]
fn forks_and_rollbacks_show_against_what_others_remember() {
    let (log, entries) = testing::log(5);
    let files = files(&log, &entries);
    let (older, newer) = (testing::log(3).0.anchor(), testing::log(9).0.anchor());
    let verifier = Verifier::new(testing::key());
    verifier
        .clone()
        .knowing(older)
        .knowing(log.anchor())
        .verify(&files, "")
        .unwrap();
    let rolled = verifier
        .clone()
        .knowing(newer)
        .verify(&files, "")
        .unwrap_err();
    assert_eq!(
        rolled,
        Defect::RolledBack { size: 5, known: 9 }.within("checkpoint")
    );
    assert_eq!(rolled.code(), Code::AudFork);
    for size in [0, 3, 5] {
        let other = Anchor {
            size,
            root: Digest::of(b"another history"),
        };
        let forked = verifier
            .clone()
            .knowing(other)
            .verify(&files, "")
            .unwrap_err();
        assert_eq!(forked, Defect::Forked { size });
    }
    // Somebody without the key altered entry 1: no fork, but what is known narrows it down.
    let (_, mut altered) = testing::log(5);
    altered[1] = String::from_utf8(altered[1].clone())
        .unwrap()
        .replace(":1}", ":2}")
        .into();
    let altered = self::files(&log, &altered);
    let found = verifier.knowing(older).verify(&altered, "");
    assert_eq!(found, Err(Defect::Root { size: 3 }));
}

#[test]
fn too_few_witnesses_are_refused() {
    let (log, entries) = testing::log(5);
    let mut files = files(&log, &entries);
    let witness = testing::named("witness.example", 9);
    let keys = vec![NoteKey::cosigner(&witness).unwrap()];
    let verifier = Verifier::new(testing::key()).witnessed(keys, 1);
    let lonely = Defect::Cosignatures {
        found: 0,
        required: 1,
    }
    .within("checkpoint");
    assert_eq!(verifier.verify(&files, ""), Err(lonely));
    let mut head = log.checkpoint(&testing::signer()).unwrap();
    head.cosign(&witness, testing::noon()).unwrap();
    files.insert("checkpoint".into(), head.to_string().into());
    let cosigned = verifier.verify(&files, "").unwrap().cosigned;
    assert_eq!(cosigned, [("witness.example".to_owned(), testing::noon())]);
}

#[test]
fn another_log_or_key_is_refused() {
    let (log, entries) = testing::log(5);
    let files = files(&log, &entries);
    let stranger = NoteKey::of(&testing::named(testing::ORIGIN, 9)).unwrap();
    let defect = Verifier::new(stranger).verify(&files, "").unwrap_err();
    assert_eq!(defect, Defect::Unsigned.within("checkpoint"));
    assert_eq!(
        Verifier::new(testing::key()).verify(&files, "log"),
        Err(Defect::FileMissing {
            path: "log/checkpoint".into()
        })
    );
}

proptest! {
    #[test]
    fn any_changed_byte_of_any_file_is_found(
        size in 1_u64..20, file in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), mask in 1_u8..,
    ) {
        let (log, entries) = testing::log(size);
        let mut files = files(&log, &entries);
        let path = files.keys().nth(file.index(files.len())).unwrap().clone();
        let content = files.get_mut(&path).unwrap();
        let at = at.index(content.len());
        content[at] ^= mask;
        prop_assert!(found(&files).is_err());
    }

    #[test]
    fn garbage_is_answered_without_panic(
        bundle in prop::collection::vec(any::<u8>(), 0..400), tile in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let (log, entries) = testing::log(5);
        let mut files = files(&log, &entries);
        files.insert("tile/entries/000.p/5".into(), bundle.clone());
        prop_assert!(found(&files).is_err());
        files.insert("tile/0/000.p/5".into(), tile);
        prop_assert!(found(&files).is_err());
        files.insert("checkpoint".into(), bundle);
        prop_assert!(found(&files).is_err());
    }
}
