//! May this package go? Every question that the register and the firm's own facts can answer,
//! before a byte leaves.

use std::collections::{BTreeMap, BTreeSet};

use kta_core::pii::{DocumentKind, Party};
use kta_core::ports::channel::{Package, Part};
use kta_core::{Code, Refusal};

use crate::facts::{KnownDocument, MatterFacts};
use crate::register::{ChannelKind, ChannelRule, Form, Register};

/// Checks a package that is to go by this kind of channel on the day it names.
///
/// The questions are asked in this order, and the first no is the answer: does the form's
/// edition hold on that day, may we act, does each document belong to that person of that matter
/// and is it the one we took in, may its category go this way, is it asked for, does the agency
/// take its file, is it signed, is it translated, is anything missing.
///
/// # Errors
/// - [`Code::AgyEdition`]: no such form, or its edition is not taken on that day;
/// - [`Code::AgyNoAuth`]: no signed authority of this attorney that is valid on that day;
/// - [`Code::AgyWrongPerson`]: a document of somebody else, of another matter, unknown, or not
///   with the content that was taken in;
/// - [`Code::AgyChannel`]: no such channel for the form, or a category that may not go by it;
/// - [`Code::AgyExcess`]: a document that the form does not ask for, or too many;
/// - [`Code::AgyFormat`]: a file type or size that the agency does not take;
/// - [`Code::AgySign`]: a signature is missing or too weak;
/// - [`Code::AgyTranslation`]: a document in another language without its translation;
/// - [`Code::RevIncomplete`]: something that the form asks for is missing.
pub fn check(
    package: &Package,
    by: ChannelKind,
    register: &Register,
    facts: &MatterFacts,
) -> Result<(), Refusal> {
    let form = register
        .form(&package.agency, &package.form)
        .filter(|form| form.takes(package.edition, package.on))
        .ok_or_else(|| {
            let refusal = Refusal::new(Code::AgyEdition).about("form", package.form.clone());
            refusal
                .about("edition", package.edition)
                .about("on", package.on)
        })?;
    check_authority(package, form, facts)?;
    let parts = known_parts(package, facts)?;
    let channel = form
        .channel(by)
        .ok_or_else(|| about(Code::AgyChannel, package).about("by", by.as_str()))?;
    check_categories(&parts, channel)?;
    check_excess(&parts, form, by)?;
    check_files(package, channel)?;
    check_signatures(&parts, form, by)?;
    check_translations(&parts, form)?;
    check_completeness(&parts, form, by, facts)
}

/// A part with what the firm knows of it.
struct Known<'a> {
    part: &'a Part,
    document: &'a KnownDocument,
    party: Party,
}

fn check_authority(package: &Package, form: &Form, facts: &MatterFacts) -> Result<(), Refusal> {
    if !form.authority {
        return Ok(());
    }
    let valid = facts.authority.as_ref().is_some_and(|authority| {
        facts.matter == package.matter
            && package.authority == Some(authority.digest)
            && authority.attorney == package.attorney
            && authority.from <= package.on
            && authority.until.is_none_or(|until| package.on <= until)
    });
    if valid {
        Ok(())
    } else {
        Err(about(Code::AgyNoAuth, package))
    }
}

fn known_parts<'a>(
    package: &'a Package,
    facts: &'a MatterFacts,
) -> Result<Vec<Known<'a>>, Refusal> {
    let known = |part: &'a Part| {
        let document = facts.documents.get(&part.document)?;
        let party = *facts.parties.get(&part.subject)?;
        let same = facts.matter == package.matter
            && document.matter == package.matter
            && document.subject == part.subject
            && document.digest == part.digest;
        same.then_some(Known {
            part,
            document,
            party,
        })
    };
    let part = |part: &'a Part| known(part).ok_or_else(|| on(Code::AgyWrongPerson, part));
    package.parts.iter().map(part).collect()
}

fn check_categories(parts: &[Known<'_>], channel: &ChannelRule) -> Result<(), Refusal> {
    let barred = |known: &&Known<'_>| {
        // Neither what the package calls it nor what the firm knows it to be.
        !channel.categories.contains(&known.part.category)
            || !channel.categories.contains(&known.document.category)
    };
    match parts.iter().find(|known| barred(known)) {
        Some(known) => {
            let category = known.document.category.as_str();
            Err(on(Code::AgyChannel, known.part).about("category", category))
        }
        None => Ok(()),
    }
}

fn check_excess(parts: &[Known<'_>], form: &Form, by: ChannelKind) -> Result<(), Refusal> {
    let mut counts: BTreeMap<_, u32> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for known in parts {
        let part = known.part;
        let excess = || on(Code::AgyExcess, part).about("kind", part.kind.as_str());
        if !seen.insert(part.document) {
            return Err(excess());
        }
        if part.kind == DocumentKind::Translation {
            // A translation comes with what it translates, once.
            let original = known.document.translates.filter(|original| {
                parts.iter().any(|other| {
                    other.part.document == *original && other.part.subject == part.subject
                })
            });
            match original {
                Some(original)
                    if counts
                        .insert((part.subject, part.kind, Some(original)), 1)
                        .is_none() =>
                {
                    continue;
                }
                _ => return Err(excess()),
            }
        }
        let most = form
            .documents
            .iter()
            .find(|rule| rule.holds(part.kind, known.party, by))
            .map_or(0, |rule| rule.most);
        let count = counts.entry((part.subject, part.kind, None)).or_default();
        *count += 1;
        if *count > most {
            return Err(excess());
        }
    }
    Ok(())
}

fn check_files(package: &Package, channel: &ChannelRule) -> Result<(), Refusal> {
    for part in &package.parts {
        let fits =
            channel.media.contains(&part.media) && (1..=channel.file_bytes).contains(&part.length);
        if !fits {
            return Err(on(Code::AgyFormat, part).about("bytes", part.length));
        }
    }
    let all = package
        .parts
        .iter()
        .fold(0_u64, |all, part| all.saturating_add(part.length));
    if all > channel.package_bytes {
        return Err(about(Code::AgyFormat, package).about("bytes", all));
    }
    Ok(())
}

fn check_signatures(parts: &[Known<'_>], form: &Form, by: ChannelKind) -> Result<(), Refusal> {
    for known in parts {
        let rule = form
            .documents
            .iter()
            .find(|rule| rule.holds(known.part.kind, known.party, by));
        if rule.is_some_and(|rule| known.document.signature < rule.signature) {
            return Err(on(Code::AgySign, known.part));
        }
    }
    Ok(())
}

fn check_translations(parts: &[Known<'_>], form: &Form) -> Result<(), Refusal> {
    let readable = |known: &Known<'_>| {
        let language = known.document.language.as_str();
        language == NO_LANGUAGE || language == form.language.as_str()
    };
    for known in parts.iter().filter(|known| !readable(known)) {
        let translated = parts.iter().any(|other| {
            other.part.kind == DocumentKind::Translation
                && other.document.translates == Some(known.part.document)
                && readable(other)
        });
        if !translated {
            return Err(on(Code::AgyTranslation, known.part));
        }
    }
    Ok(())
}

fn check_completeness(
    parts: &[Known<'_>],
    form: &Form,
    by: ChannelKind,
    facts: &MatterFacts,
) -> Result<(), Refusal> {
    for rule in &form.documents {
        for (subject, party) in &facts.parties {
            if !rule.concerns(*party, by) {
                continue;
            }
            let given = parts
                .iter()
                .filter(|known| known.part.kind == rule.kind && known.part.subject == *subject)
                .count();
            if (given as u64) < u64::from(rule.least) {
                let refusal = Refusal::new(Code::RevIncomplete).about("subject", *subject);
                return Err(refusal.about("kind", rule.kind.as_str()));
            }
        }
    }
    Ok(())
}

fn about(code: Code, package: &Package) -> Refusal {
    Refusal::new(code)
        .about("matter", package.matter)
        .about("form", package.form.clone())
}

fn on(code: Code, part: &Part) -> Refusal {
    Refusal::new(code).about("document", part.document)
}

/// BCP 47: no linguistic content, such as a photo.
const NO_LANGUAGE: &str = "zxx";
