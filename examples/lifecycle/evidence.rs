//! The evidence: the exported log, certificates with their proofs, receipts, disclosures and the
//! story, all under one signed manifest; and the check that nothing personal is among it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use kta_core::audit::{Entry, Export, Log, Proof, SignedCheckpoint};
use kta_core::id::Digest;
use kta_core::pipeline::dispose::Disposed;
use kta_core::policy::Act;
use kta_core::ports::store::{Register, SheetQuery};
use kta_core::steward::improvement::Tally;
use kta_core::{Fault, FaultKind, Port};

use crate::cast::Failure;
use crate::doors::Opened;
use crate::story::Story;

/// Looks for the family's values in everything that is not sealed: log, registers, URLs.
pub(crate) async fn leak_check(opened: &Opened, canaries: &[String]) -> Result<(), Failure> {
    let mut seen: Vec<String> = opened.urls();
    for entry in entries(opened).await? {
        seen.push(String::from_utf8(entry)?);
    }
    for register in REGISTERS {
        for sheet in sheets(opened, register).await? {
            seen.push(String::from_utf8(sheet)?);
        }
    }
    seen.push(format!("{:?}", opened.house));
    let leaked = canaries
        .iter()
        .any(|canary| seen.iter().any(|text| text.contains(canary)));
    if leaked {
        Err("a personal value stands where none may".into())
    } else {
        Ok(())
    }
}

/// Writes the evidence into `out` and signs it; gives the number of files.
pub(crate) async fn export(
    out: &Path,
    opened: Opened,
    disposed: &Disposed,
    story: Story,
) -> Result<usize, Failure> {
    let entries = entries(&opened).await?;
    let signer = std::sync::Arc::clone(&opened.house.doors.signer);
    let mut log = Log::new(signer.name());
    for entry in &entries {
        log.append(entry)?;
    }
    let checkpoint = log.checkpoint(&*signer)?;
    let certificates = certificates(&entries, &checkpoint, disposed)?;
    let mut other: Vec<(String, Vec<u8>)> =
        vec![("story.md".to_owned(), story.into_text().into_bytes())];
    for (register, name) in [
        (Register::Receipts, "receipts"),
        (Register::Incidents, "receipts"),
        (Register::Training, "receipts"),
        (Register::Findings, "receipts"),
        (Register::Improvements, "receipts"),
    ] {
        for (number, sheet) in sheets(&opened, register).await?.into_iter().enumerate() {
            other.push((
                format!("{name}/{}-{number:02}.json", register.as_str()),
                sheet,
            ));
        }
    }
    let mut disclosures = Vec::new();
    for sheet in sheets(&opened, Register::Disclosures).await? {
        disclosures.extend_from_slice(&sheet);
        disclosures.push(b'\n');
    }
    other.push(("disclosures.jsonl".to_owned(), disclosures));
    other.push(("measures.jsonl".to_owned(), measures(&entries)?));
    for issued in disposed.certificates() {
        other.push((
            format!("receipts/{}.note", issued.certificate.id),
            issued.note.clone().into_bytes(),
        ));
    }
    opened.store.checkpoint().await?;
    let system = opened.system.clone();
    drop(opened);

    let mut write = |path: &str, content: &[u8]| -> kta_core::Result<()> {
        let broken = |_| Fault::new(FaultKind::Unavailable, Port::Blobs, "write evidence").into();
        let path = out.join(path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(broken)?;
        }
        let mut file = std::fs::File::create(path).map_err(broken)?;
        file.write_all(content)
            .and_then(|()| file.sync_all())
            .map_err(broken)
    };
    let mut export = Export::new(&*signer, &mut write)?;
    for entry in &entries {
        export.entry(entry)?;
    }
    export.checkpoint(&checkpoint)?;
    for (name, content, proof) in &certificates {
        export.certificate(name, content, proof)?;
    }
    let mut files = other.len() + 2 * certificates.len();
    for (path, content) in &other {
        export.add(path, content)?;
    }
    for path in below(&system)? {
        let name = path
            .strip_prefix(out)?
            .to_str()
            .ok_or("a file name that is not text")?
            .to_owned();
        export.add(&name, &std::fs::read(&path)?)?;
        files += 1;
    }
    export.finish()?;
    Ok(files)
}

const REGISTERS: [Register; 15] = [
    Register::Actors,
    Register::Approvals,
    Register::Certificates,
    Register::Disclosures,
    Register::Dispositions,
    Register::Documents,
    Register::Findings,
    Register::Grants,
    Register::Improvements,
    Register::Incidents,
    Register::Matters,
    Register::Receipts,
    Register::Subjects,
    Register::Suppressions,
    Register::Training,
];

/// The measures of the exported entries, each with the query that gives it again from them.
fn measures(entries: &[Vec<u8>]) -> Result<Vec<u8>, Failure> {
    let mut tally = Tally::default();
    for entry in entries {
        tally.add(&Entry::parse(entry).map_err(kta_core::Error::from)?);
    }
    let mut lines = Vec::new();
    for measure in tally.measures() {
        serde_json::to_writer(&mut lines, &measure)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

type Certified = Vec<(String, Vec<u8>, Proof)>;

/// Each certificate's text with the proof that the log holds its digest.
fn certificates(
    entries: &[Vec<u8>],
    checkpoint: &SignedCheckpoint,
    disposed: &Disposed,
) -> Result<Certified, Failure> {
    let leaves: Vec<Digest> = entries
        .iter()
        .map(|entry| kta_core::audit::merkle::leaf_hash(entry))
        .collect();
    let mut certified = Vec::new();
    for issued in disposed.certificates() {
        let text = issued.certificate.text().into_bytes();
        let digest = issued.certificate.digest();
        let position = entries.iter().position(|bytes| {
            Entry::parse(bytes).is_ok_and(|entry| {
                entry.event.act == Act::Certify
                    && entry
                        .event
                        .facts
                        .values()
                        .any(|fact| fact.to_string() == digest.to_string())
            })
        });
        let index = position.ok_or("a certificate without its entry")?;
        let proof = Proof::create(
            &entries[index],
            index as u64,
            leaves.as_slice(),
            checkpoint.clone(),
        )?;
        certified.push((format!("{}.json", issued.certificate.id), text, proof));
    }
    Ok(certified)
}

async fn entries(opened: &Opened) -> Result<Vec<Vec<u8>>, Failure> {
    let house = &opened.house;
    let mut entries = Vec::new();
    loop {
        let page = house
            .doors
            .ledger
            .entries(house.tenant(), entries.len() as u64, 512)
            .await?;
        if page.is_empty() {
            return Ok(entries);
        }
        entries.extend(page);
    }
}

async fn sheets(opened: &Opened, register: Register) -> Result<Vec<Vec<u8>>, Failure> {
    let house = &opened.house;
    let sheets = house
        .doors
        .store
        .sheets(&SheetQuery::all(house.tenant(), register))
        .await?;
    Ok(sheets.into_iter().map(|sheet| sheet.body).collect())
}

fn below(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files.extend(below(&entry.path())?);
        } else {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}
