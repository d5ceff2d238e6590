//! Checks an exported folder with the public key alone: every file against the signed manifest,
//! the whole audit log against its checkpoint, every certificate of destruction against its
//! signature and its entry in the log. Names the first fault and exits with 1.
//!
//! ```text
//! cargo run --release --example verify -- DIR [--key FILE]
//! ```
//! With `--key` the public key is read from FILE instead of DIR: whoever got the key another way
//! need not trust the folder at all.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kta_core::audit::{Folder, NoteKey, SignedNote, Verifier, key_in, verify_export};
use kta_core::crypto::EraseClaim;
use kta_core::retention::{Certificate, CertificateState};

fn main() -> ExitCode {
    let answer = arguments().and_then(|(folder, key)| verify(&folder, key.as_deref()));
    let (mut out, mut complaint) = (io::stdout(), io::stderr());
    match answer {
        Ok(lines) => {
            for line in lines {
                let _ = writeln!(out, "{line}");
            }
            ExitCode::SUCCESS
        }
        Err(fault) => {
            let _ = writeln!(complaint, "NOT VERIFIED: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn verify(folder: &Path, key: Option<&Path>) -> Result<Vec<String>, String> {
    let directory = Directory(folder.to_path_buf());
    let key: NoteKey = match key {
        Some(file) => {
            let text =
                fs::read_to_string(file).map_err(|_| "the key file cannot be read".to_owned())?;
            text.trim_end()
                .parse()
                .map_err(|_| "the key file holds no key".to_owned())?
        }
        None => key_in(&directory).map_err(|defect| defect.to_string())?,
    };
    let verified = verify_export(&directory, &Verifier::new(key.clone()))
        .map_err(|defect| defect.to_string())?;
    let mut lines = vec![
        format!(
            "manifest: {} files, signature and every digest right",
            verified.files
        ),
        format!("audit log: {:?}", verified.log),
    ];
    let mut serials = BTreeSet::new();
    for (path, entry) in &verified.certificates {
        let certificate = certificate(&directory, path, &key)?;
        if !serials.insert(certificate.id) {
            return Err(format!(
                "{path}: a certificate of this serial was seen before"
            ));
        }
        let kept = certificate.key_kept.as_ref();
        let kept = kept.map_or_else(String::new, |kept| {
            format!(", the key stays ({})", kept.reason)
        });
        let state = match certificate.state {
            CertificateState::Final => "final".to_owned(),
            CertificateState::Interim { until } => format!("interim until {until}"),
        };
        lines.push(format!(
            "certificate {}: {state}, {} copies observed absent, {} keys destroyed{kept}, anchored in entry {entry}",
            certificate.id,
            certificate.copies.len(),
            certificate.keys.len()
        ));
    }
    if verified.certificates.is_empty() {
        lines.push("no certificate of destruction in this folder".to_owned());
    }
    lines.push("VERIFIED".to_owned());
    Ok(lines)
}

/// Reads one certificate and checks what it says against its own signature and itself.
fn certificate(directory: &Directory, path: &str, key: &NoteKey) -> Result<Certificate, String> {
    let text = read(directory, path)?;
    let certificate: Certificate =
        serde_json::from_slice(&text).map_err(|_| format!("{path}: not a certificate"))?;
    if certificate.text().as_bytes() != text {
        return Err(format!("{path}: not in canonical form"));
    }
    let note_path = format!("receipts/{}.note", certificate.id);
    let note = SignedNote::parse(&read(directory, &note_path)?)
        .map_err(|defect| format!("{note_path}: {defect}"))?;
    note.verify_only(key)
        .map_err(|defect| format!("{note_path}: {defect}"))?;
    if note.text().as_bytes() != text {
        return Err(format!("{note_path}: signs another text than {path}"));
    }
    let dirty = certificate
        .copies
        .iter()
        .find(|copy| copy.probe.residues.iter().any(|residue| residue.content));
    if certificate.state == CertificateState::Final && dirty.is_some() {
        return Err(format!("{path}: says final although a probe found content"));
    }
    let waits = certificate.keys.iter().any(
        |key| matches!(key.claim(), EraseClaim::EffectiveFrom(until) if until > certificate.at),
    );
    if certificate.state == CertificateState::Final && waits {
        return Err(format!(
            "{path}: says final although a key waits for its destruction"
        ));
    }
    if certificate.key_kept.is_some() && !certificate.keys.is_empty() {
        return Err(format!(
            "{path}: says that the key stays, and that it was destroyed"
        ));
    }
    if certificate
        .keys
        .iter()
        .any(|evidence| evidence.proven().is_err())
    {
        return Err(format!("{path}: a copy of a destroyed key stands"));
    }
    Ok(certificate)
}

/// The longest certificate that is read, in bytes.
const LONGEST: u64 = 16 << 20;

fn read(directory: &Directory, path: &str) -> Result<Vec<u8>, String> {
    let file = directory
        .open(path)
        .map_err(|_| format!("{path}: missing"))?;
    let mut content = Vec::new();
    file.take(LONGEST)
        .read_to_end(&mut content)
        .map_err(|_| format!("{path}: cannot be read"))?;
    Ok(content)
}

fn arguments() -> Result<(PathBuf, Option<PathBuf>), String> {
    let usage = || "usage: verify DIR [--key FILE]".to_owned();
    let (mut folder, mut key) = (None, None);
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--key" && key.is_none() {
            key = Some(PathBuf::from(arguments.next().ok_or_else(usage)?));
        } else if folder.is_none() {
            folder = Some(PathBuf::from(argument));
        } else {
            return Err(usage());
        }
    }
    Ok((folder.ok_or_else(usage)?, key))
}

/// A directory of exported files. Links are not followed: an evidence folder has none.
struct Directory(PathBuf);

impl Directory {
    fn walk(folder: &Path, prefix: &str, paths: &mut Vec<String>) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let path = format!("{prefix}{}", entry.file_name().to_str().unwrap_or("?"));
            if entry.file_type()?.is_dir() {
                Self::walk(&entry.path(), &format!("{path}/"), paths)?;
            } else {
                paths.push(path);
            }
        }
        Ok(())
    }
}

impl Folder for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut paths = Vec::new();
        Self::walk(&self.0, "", &mut paths)?;
        Ok(paths)
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn io::Read + '_>> {
        let path = self.0.join(path);
        if fs::symlink_metadata(&path)?.is_file() {
            Ok(Box::new(fs::File::open(path)?))
        } else {
            Err(io::ErrorKind::InvalidInput.into())
        }
    }
}
