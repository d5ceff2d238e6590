//! Step 7, government agencies: a package of exactly these documents of exactly these people,
//! handed over once, with every disclosure accounted for.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::audit::{Label, Outcome};
use crate::error::{Error, Result};
use crate::id::{Digest, DocumentId, IdempotencyKey, MatterId, SubjectId};
use crate::pii::placement::CopyOf;
use crate::pii::{Category, Document, Locator, MatterState, PlacementKind};
use crate::pipeline::collaborate::Shared;
use crate::pipeline::dispose::require_untouched;
use crate::pipeline::effect::Copy;
use crate::pipeline::house::{House, file, label};
use crate::pipeline::manage;
use crate::pipeline::process::require_state;
use crate::pipeline::receipt::Receipt;
use crate::pipeline::verify::open_blob;
use crate::policy::{Act, Permit, Scope, Session};
use crate::ports::channel::{Package, Part, Submission, SubmissionState};
use crate::ports::store::{Change, ChangeSet, Register};
use crate::refusal::{Code, Refusal};
use crate::time::Timestamp;

/// Receipt of the eighth stage: the package was handed to the agency's channel.
#[derive(Debug)]
pub struct Transmitted {
    data: Data,
    shared: Shared,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    matter: MatterId,
    /// How many packages of the form were filed in the matter before.
    #[serde(default)]
    number: u32,
    package: Package,
    submission: Submission,
}

impl Receipt for Transmitted {
    const STAGE: Label = Label::fixed("transmitted");
}

impl Transmitted {
    /// The matter.
    #[must_use]
    pub const fn matter(&self) -> MatterId {
        self.data.matter
    }

    /// What was handed over.
    #[must_use]
    pub const fn package(&self) -> &Package {
        &self.data.package
    }

    /// The name of the submission.
    #[must_use]
    pub fn key(&self) -> IdempotencyKey {
        numbered_key(self.data.matter, &self.data.package.form, self.data.number)
    }

    /// How far it is.
    #[must_use]
    pub const fn submission(&self) -> &Submission {
        &self.data.submission
    }

    /// What stands in the library and is shared.
    #[must_use]
    pub const fn shared(&self) -> &Shared {
        &self.shared
    }
}

/// What is to be filed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filing {
    /// The agency, for example `us.uscis`.
    pub agency: Label,
    /// The form.
    pub form: Label,
    /// Its edition.
    pub edition: NaiveDate,
    /// The documents, in order.
    pub documents: Vec<DocumentId>,
    /// Digest of the signed authority (G-28).
    pub authority: Option<Digest>,
}

/// The name of the first submission of a form in a matter; [`Transmitted::key`] has that of any. The
/// day of filing is part of the package but not of its name: a retry after midnight is the same
/// submission.
#[must_use]
pub fn submission_key(matter: MatterId, form: &Label) -> IdempotencyKey {
    numbered_key(matter, form, 0)
}

fn numbered_key(matter: MatterId, form: &Label, number: u32) -> IdempotencyKey {
    let count = number.to_be_bytes();
    // The first has the name that it had when there was no other.
    let count: &[&[u8]] = if number == 0 { &[] } else { &[&count] };
    let parts = [
        &[matter.as_bytes() as &[u8], form.as_str().as_bytes()],
        count,
    ]
    .concat();
    IdempotencyKey::derived("channel.submit", &parts)
}

/// One disclosure of one person's document, for the accounting (NIST PM-21).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disclosure {
    /// Whose data.
    pub subject: SubjectId,
    /// Which document.
    pub document: DocumentId,
    /// SHA-256 of what was disclosed.
    pub digest: Digest,
    /// How guarded it is.
    pub category: Category,
    /// To whom.
    pub to: Label,
    /// In which package.
    pub package: Digest,
    /// When.
    pub at: Timestamp,
}

/// Hands a package to the agency's channel.
///
/// The same filing again is the submission that was made, with the day and the attorney that it
/// had. Another filing of the form is a further submission while the agency asks for more
/// ([`MatterState::Rfe`]); otherwise it is refused, and what was submitted stands as it was
/// accounted for.
///
/// # Errors
/// [`Code::AgyFiled`] for another filing of a form that was filed;
/// [`Code::AgyWrongPerson`] when a document is not of this matter's people or not of this
/// matter, [`Code::AgyNoAuth`] without authority, what the channel refuses: each logged;
/// refusals of the gate; faults of the ports.
pub async fn transmit(
    house: &House,
    session: &Session<'_>,
    shared: Shared,
    filing: Filing,
) -> Result<Transmitted> {
    match try_transmit(house, session, &shared, filing).await {
        Ok(data) => Ok(Transmitted { data, shared }),
        Err(error) => Err(error),
    }
}

/// As [`transmit`], but gives the shares back when it is refused, so that the filing can be
/// corrected.
///
/// # Errors
/// As [`transmit`], with the receipt of the stage before.
#[allow(clippy::result_large_err, reason = "the receipt must come back")]
pub async fn attempt(
    house: &House,
    session: &Session<'_>,
    shared: Shared,
    filing: Filing,
) -> Result<Transmitted, (Error, Shared)> {
    match try_transmit(house, session, &shared, filing).await {
        Ok(data) => Ok(Transmitted { data, shared }),
        Err(error) => Err((error, shared)),
    }
}

async fn try_transmit(
    house: &House,
    session: &Session<'_>,
    shared: &Shared,
    filing: Filing,
) -> Result<Data> {
    let (matter, mut number) = (shared.matter(), 0);
    let id = loop {
        let id = numbered("transmitted", matter, &filing.form, number);
        match house.filed::<Data>(Register::Receipts, &id).await? {
            Some(data) if is_of(&data.package, &filing) => return Ok(data),
            Some(_) => number += 1,
            None => break id,
        }
    };
    let states = [
        MatterState::ClientSign,
        MatterState::Filed,
        MatterState::Rfe,
    ];
    require_state(house, matter, &states)?;
    if number > 0 && manage::matter(house, matter)?.state != MatterState::Rfe {
        return refused(session, shared, other(matter, &filing.form).into()).await;
    }
    let (package, documents) = match assemble(house, session, shared, &filing).await {
        Ok(assembled) => assembled,
        Err(error) => return refused(session, shared, error).await,
    };
    let subjects: BTreeSet<SubjectId> = documents.iter().map(|document| document.subject).collect();
    let categories: BTreeSet<Category> = documents
        .iter()
        .map(|d| d.classification.category)
        .collect();
    let scope = Scope::over(subjects, categories)
        .in_matter(shared.matter())
        .about("package", package.digest());
    let permit = session.permit(Act::Transmit, scope).await?;
    let submitted = submit(house, (&filing, number), package, &documents, &permit).await;
    let (package, submission) = match submitted {
        Ok(submitted) => submitted,
        Err(error) => return refused(session, shared, error).await,
    };
    if manage::matter(house, shared.matter())?.state == MatterState::ClientSign {
        manage::amend_matter(house, session, shared.matter(), "file", |matter| {
            matter.advance(MatterState::Filed)
        })
        .await?;
    }
    let data = Data {
        matter,
        number,
        package,
        submission,
    };
    record(house, id, &data, &documents, &permit).await?;
    Ok(data)
}

/// The package, from the documents as they were received.
async fn assemble<'s>(
    house: &House,
    session: &Session<'_>,
    shared: &'s Shared,
    filing: &Filing,
) -> Result<(Package, Vec<&'s Document>)> {
    let matter = manage::matter(house, shared.matter())?;
    let mut parts = Vec::with_capacity(filing.documents.len());
    let mut documents = Vec::with_capacity(filing.documents.len());
    for id in &filing.documents {
        let stored = shared.stored().document(*id).map(|(document, _)| document);
        let document = stored.filter(|document| matter.parties.contains_key(&document.subject));
        let document = document.ok_or_else(|| {
            Refusal::new(Code::AgyWrongPerson)
                .about("matter", matter.id)
                .about("document", *id)
        })?;
        parts.push(Part {
            document: document.id,
            subject: document.subject,
            kind: document.kind,
            category: document.classification.category,
            media: document.media.clone(),
            length: document.length,
            digest: document.digest,
        });
        documents.push(document);
    }
    if filing.authority.is_none() {
        return Err(Refusal::new(Code::AgyNoAuth)
            .about("matter", matter.id)
            .into());
    }
    let package = Package {
        matter: matter.id,
        agency: filing.agency.clone(),
        form: filing.form.clone(),
        edition: filing.edition,
        on: house.gate.now().date_naive(),
        authority: filing.authority,
        attorney: session.actor(),
        parts,
    };
    Ok((package, documents))
}

/// Whether a package is of a filing, on whichever day and by whichever attorney.
fn is_of(package: &Package, filing: &Filing) -> bool {
    let documents = package.parts.iter().map(|part| part.document);
    package.agency == filing.agency
        && package.form == filing.form
        && package.edition == filing.edition
        && package.authority == filing.authority
        && documents.eq(filing.documents.iter().copied())
}

fn other(matter: MatterId, form: &Label) -> Refusal {
    Refusal::new(Code::AgyFiled)
        .about("matter", matter)
        .about("form", form.clone())
}

fn numbered(what: &str, matter: MatterId, form: &Label, number: u32) -> Label {
    if number == 0 {
        label(format_args!("{what}:{matter}:{form}"))
    } else {
        label(format_args!("{what}:{matter}:{form}:{number}"))
    }
}

/// One submission; the package and the copy each person has in it are announced before, and the
/// copies confirmed after. Gives the package that was submitted, which is of an earlier call where
/// that one's answer was lost.
async fn submit(
    house: &House,
    (filing, number): (&Filing, u32),
    package: Package,
    documents: &[&Document],
    permit: &Permit<'_>,
) -> Result<(Package, Submission)> {
    let channel = &house.doors.channel;
    let key = numbered_key(package.matter, &package.form, number);
    let announced = numbered("announced", package.matter, &package.form, number);
    if let Some(submission) = channel.find(key, permit).await? {
        let sent: Option<Package> = house.filed(Register::Receipts, &announced).await?;
        let sent = sent.unwrap_or(package);
        if submission.package != sent.digest() || !is_of(&sent, filing) {
            return Err(other(sent.matter, &sent.form).into());
        }
        return Ok((sent, submission));
    }
    let mut contents = Vec::with_capacity(documents.len());
    for document in documents {
        contents.push(open_blob(house, document, permit).await?);
    }
    house.eraser(&channel.name())?;
    require_untouched(house, package.matter).await?;
    let mut announce = ChangeSet::new(house.tenant(), house.gate.now());
    for document in documents {
        let copy = recipient(house, document);
        let intended = copy.placed(house, crate::pii::PlacementState::Intended, None);
        announce = announce.with(Change::PutPlacement(intended));
    }
    let event = permit
        .event(Act::Transmit, Outcome::Intended)
        .with("package", package.digest());
    let matter = Some(package.matter);
    announce = announce.with(file(Register::Receipts, announced, None, matter, &package)?);
    house.doors.store.commit(announce.event(event)).await?;
    require_untouched(house, package.matter).await?;
    match channel.submit(&package, contents, key, permit).await {
        Ok(submission) => Ok((package, submission)),
        Err(Error::Refused(refusal)) => {
            let mut retract = ChangeSet::new(house.tenant(), house.gate.now());
            for document in documents {
                let withdrawn = crate::pii::PlacementState::Withdrawn {
                    at: house.gate.now(),
                };
                retract = retract.with(Change::PutPlacement(
                    recipient(house, document).placed(house, withdrawn, None),
                ));
            }
            house.doors.store.commit(retract).await?;
            Err(refusal.into())
        }
        Err(Error::Broken(fault)) => match channel.find(key, permit).await? {
            Some(submission) => Ok((package, submission)),
            None => Err(fault.into()),
        },
    }
}

async fn record(
    house: &House,
    id: Label,
    data: &Data,
    documents: &[&Document],
    permit: &Permit<'_>,
) -> Result<()> {
    let now = house.gate.now();
    let at = match &data.submission.state {
        SubmissionState::Acknowledged { at, .. } | SubmissionState::Sent { at } => *at,
        SubmissionState::Prepared => now,
    };
    let mut change = ChangeSet::new(house.tenant(), now);
    for document in documents {
        let disclosure = Disclosure {
            subject: document.subject,
            document: document.id,
            digest: document.digest,
            category: document.classification.category,
            to: data.package.agency.clone(),
            package: data.submission.package,
            at,
        };
        let copy = recipient(house, document);
        let place = Locator::new(data.submission.key.clone()).ok();
        let name = match data.number {
            0 => label(format_args!("{}:{}", document.id, data.package.form)),
            later => label(format_args!(
                "{}:{}:{later}",
                document.id, data.package.form
            )),
        };
        change = change
            .with(Change::PutPlacement(copy.placed(
                house,
                crate::pii::PlacementState::Present,
                place,
            )))
            .with(file(
                Register::Disclosures,
                name,
                Some(document.subject),
                Some(data.matter),
                &disclosure,
            )?)
            .event(
                permit
                    .event(Act::Transmit, Outcome::Done)
                    .of_subject(document.subject)
                    .with("document", document.id)
                    .with("to", data.package.agency.clone())
                    .with("category", document.classification.category.as_str())
                    .with("package", data.submission.package),
            );
    }
    let change = change.with(file(Register::Receipts, id, None, Some(data.matter), data)?);
    house.doors.store.commit(change).await.map(drop)
}

fn recipient(house: &House, document: &Document) -> Copy {
    Copy {
        subject: document.subject,
        matter: Some(document.matter),
        system: house.doors.channel.name(),
        kind: PlacementKind::Recipient,
        of: CopyOf::Document(document.id),
        category: document.classification.category,
    }
}

async fn refused<T>(session: &Session<'_>, shared: &Shared, error: Error) -> Result<T> {
    if let Some(refusal) = error.refusal() {
        let scope = Scope::firm().in_matter(shared.matter());
        session.log_refusal(Act::Transmit, &scope, refusal).await?;
    }
    Err(error)
}
