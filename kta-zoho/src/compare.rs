//! A record in the CRM held against the reviewed one: every difference, not only the first.

use futures_util::StreamExt as _;
use kta_core::audit::Label;
use kta_core::pii::{Category, Content, Locator, MediaType, Pii};
use kta_core::policy::Permit;
use kta_core::ports::scanner::{FindingKind, Inspection};
use kta_core::ports::{Crm as _, CrmRecord, Scanner};
use kta_core::{Code, Port, Refusal, Result};
use kta_http::Call;
use zeroize::Zeroizing;

use crate::attachments::LARGEST;
use crate::records::READING;
use crate::{ZohoCrm, notes};

/// What differs between the CRM and the review, and what stands where it must not.
///
/// - `REV-INCONSISTENT`: a mapped field, or the basis, is not what was reviewed;
/// - `CRM-NO-BASIS`: no lawful basis;
/// - `SYN-LOCKED`: processing is stopped, so nothing may flow;
/// - `CRM-LEAK-FIELD`: an identifier in a free text that is not on the map, or in a note;
/// - `CRM-WRONG-STORE`: content of a special category, in whatever place of the CRM;
/// - `DLP-OPAQUE`: an attachment that nobody can look into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discrepancies(Vec<Refusal>);

impl Discrepancies {
    /// The findings, in the order of the list above; each names field and kind, never a value.
    #[must_use]
    pub fn findings(&self) -> &[Refusal] {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl ZohoCrm {
    /// Holds the record at `at` against `reviewed`. `special` are the kinds of finding that say
    /// that content is of a special category.
    ///
    /// # Errors
    /// `CRM-FIELD-RESTRICTED` and `SYN-SCHEMA`, because then nothing can be compared;
    /// `SYN-REPARENT` when the record is another matter's; `ACL-DENY`; faults of the transport
    /// and of the scanner.
    pub async fn compare(
        &self,
        reviewed: &CrmRecord,
        at: &Locator,
        scanner: &dyn Scanner,
        special: &[FindingKind],
        permit: &Permit<'_>,
    ) -> Result<Discrepancies> {
        let subject = reviewed.subject;
        permit.require(&READING, subject, Category::Case)?;
        let fetched = self.fetch(subject, at, permit).await?;
        let mut found = Vec::new();
        let about = |code| Refusal::new(code).about("subject", subject);
        let differs = |field: Label| about(Code::RevInconsistent).about("field", field);
        for (name, value) in reviewed.fields.iter() {
            let there = fetched.fields.field(name.as_str());
            if there.map(|value| value.expose(permit)) != Some(value.expose(permit)) {
                found.push(differs(name.label().clone()));
            }
        }
        for (name, _) in fetched.fields.iter() {
            if reviewed.fields.field(name.as_str()).is_none() {
                found.push(differs(name.label().clone()));
            }
        }
        match fetched.basis {
            None => found.push(about(Code::CrmNoBasis)),
            Some(basis) if basis != reviewed.basis => {
                found.push(differs(Label::fixed("basis")));
            }
            Some(_) => {}
        }
        if fetched.stopped {
            found.push(about(Code::SynLocked));
        }
        let mut places: Vec<(Label, Pii<String>)> = fetched
            .unmapped
            .iter()
            .map(|(name, text)| (name.label().clone(), Pii::new(text.expose(permit).clone())))
            .collect();
        for note in notes::all(&self.client, COMPARE, at.as_str()).await? {
            for text in [note.title, note.content] {
                if !text.expose(permit).is_empty() {
                    places.push((Label::fixed("notes"), text));
                }
            }
        }
        let (mut leaks, mut wrong, mut opaque) = (Vec::new(), Vec::new(), Vec::new());
        for (place, text) in places {
            let bytes = text.expose(permit).clone().into_bytes();
            let seen = scanner
                .inspect(Content::of(bytes, MediaType::text()), permit)
                .await?;
            let (special, other) = parted(&seen, special);
            let find = |code, kind| {
                about(code)
                    .about("field", place.clone())
                    .about("kind", kind)
            };
            leaks.extend(other.map(|kind| find(Code::CrmLeakField, kind)));
            wrong.extend(special.map(|kind| find(Code::CrmWrongStore, kind)));
        }
        for one in self.attachments(subject, at, permit).await? {
            let find = |code| match Label::new(one.locator.as_str()) {
                Ok(id) => about(code).about("attachment", id),
                Err(_) => about(code),
            };
            if one.link || one.size > LARGEST {
                opaque.push(find(Code::DlpOpaque));
                continue;
            }
            let name = one.name.expose(permit);
            let seen = self
                .look_into(at, &one.locator, name, scanner, permit)
                .await?;
            let (special, _) = parted(&seen, special);
            wrong.extend(special.map(|kind| find(Code::CrmWrongStore).about("kind", kind)));
            if seen.opaque {
                opaque.push(find(Code::DlpOpaque));
            }
        }
        found.extend(leaks.into_iter().chain(wrong).chain(opaque));
        Ok(Discrepancies(found))
    }

    async fn look_into(
        &self,
        at: &Locator,
        attachment: &Locator,
        name: &str,
        scanner: &dyn Scanner,
        permit: &Permit<'_>,
    ) -> Result<Inspection> {
        let mut stream = self.bytes_of(COMPARE, at, attachment).await?;
        let mut bytes = Zeroizing::new(Vec::new());
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece?);
        }
        let content = Content::of(core::mem::take(&mut *bytes), media_of(name));
        scanner.inspect(content, permit).await
    }
}

/// The kinds that were found, each once: the special ones, and the others.
fn parted<'a>(
    seen: &Inspection,
    special: &'a [FindingKind],
) -> (
    impl Iterator<Item = FindingKind> + use<'a>,
    impl Iterator<Item = FindingKind> + use<'a>,
) {
    let mut kinds: Vec<FindingKind> = seen.findings.iter().map(|one| one.kind.clone()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let (ours, others): (Vec<_>, Vec<_>) =
        kinds.into_iter().partition(|kind| special.contains(kind));
    (ours.into_iter(), others.into_iter())
}

/// What a name's ending says; a scanner looks at the bytes all the same.
fn media_of(name: &str) -> MediaType {
    let ending = name.rsplit('.').next().unwrap_or_default();
    match ending.to_ascii_lowercase().as_str() {
        "csv" | "md" | "txt" => MediaType::text(),
        "pdf" => MediaType::pdf(),
        _ => MediaType::octets(),
    }
}

const COMPARE: Call = Call::new(Port::Crm, "compare");
