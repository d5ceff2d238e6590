//! Steps 2 to 6: into the CRM and back, forms, documents, and a share that ends.

use kta_core::Code;
use kta_core::id::{DocumentId, SubjectId};
use kta_core::pii::{DocumentKind, Fields, Pii};
use kta_core::pipeline::collaborate::{self, Shared};
use kta_core::pipeline::verify::Verified;
use kta_core::pipeline::{enter, process, store, transfer};
use kta_core::policy::{Permit, Role};
use kta_core::ports::collaboration::Recipient;

use super::Road;
use crate::cast::Failure;
use crate::story::Story;

impl Road<'_> {
    /// Steps 2 to 6: CRM, transfer, processing, documents, collaboration.
    pub(super) async fn work(
        &self,
        story: &mut Story,
        verified: Verified,
    ) -> Result<Shared, Failure> {
        let house = &self.opened.house;
        let staff = self.cast.staff;
        story.chapter("Entry into the CRM, and the transfer back, compared field by field");
        let paralegal = self.case_work(staff.paralegal, Role::Paralegal);
        let entered = enter::enter(house, &paralegal, verified).await?;
        story.line(&format!(
            "entered: {} persons in Zoho CRM",
            entered.entries().len()
        ));
        let sync = self.case_work(staff.sync, Role::ServiceSync);
        let transferred = transfer::transfer(house, &sync, entered).await?;
        story.line(&format!(
            "transferred: window root {}",
            transferred.window()
        ));
        story.tell(house).await?;

        story.chapter("Processing: forms are drafted from the data they descend from");
        let attorney = self.case_work(staff.attorney, Role::Attorney);
        let processed = process::process(house, &attorney, transferred, &draft).await?;
        story.line(&format!(
            "{} drafts, matter now waits for the client's signature",
            processed.drafts().len()
        ));
        story.tell(house).await?;

        story.chapter("Documents into SharePoint, under names that say nothing");
        let stored = store::store(house, &paralegal, processed).await?;
        story.line(&format!(
            "{} documents in the library, each read back",
            stored.locators().len()
        ));
        story.tell(house).await?;

        story.chapter("Collaboration: a share is decided, ends by itself, and is on a register");
        let mut shared = collaborate::collaborate(house, stored).await?;
        let letter = find(&shared, DocumentKind::EmployerLetter)?;
        let passport = find(&shared, DocumentKind::Passport)?;
        let to = |address: &str| Recipient::new(address.to_owned());
        let soon = house.gate.now() + chrono::TimeDelta::days(14);
        let wish = |document, recipient, expires| collaborate::Wish {
            document,
            recipient,
            expires,
        };
        let endless = collaborate::share(
            house,
            &attorney,
            &mut shared,
            wish(letter, to("petra.muster@example.com")?, None),
        )
        .await;
        story.refused("a share without an end", endless, Code::ShrExpiry)?;
        let elsewhere = collaborate::share(
            house,
            &attorney,
            &mut shared,
            wish(passport, to("somebody@example.net")?, Some(soon)),
        )
        .await;
        story.refused(
            "a passport page to a domain nobody verified",
            elsewhere,
            Code::ShrDomain,
        )?;
        let grant = collaborate::share(
            house,
            &attorney,
            &mut shared,
            wish(letter, to("petra.muster@example.com")?, Some(soon)),
        )
        .await?;
        story.line(&format!(
            "the employer's letter is shared with the employer until {}",
            grant.expires
        ));
        let findings = collaborate::unregistered(house, &attorney, &shared).await?;
        story.line(&format!(
            "ways in that are not on the register: {}",
            findings.len()
        ));
        if !findings.is_empty() {
            return Err("the library lets somebody in whom nobody registered".into());
        }
        story.tell(house).await?;
        Ok(shared)
    }
}

fn find(shared: &Shared, kind: DocumentKind) -> Result<DocumentId, Failure> {
    let found = shared
        .stored()
        .documents()
        .find(|document| document.kind == kind);
    Ok(found
        .map(|document| document.id)
        .ok_or("a document is missing")?)
}

/// A draft of the form: what a person declared, laid out for signature.
fn draft(
    _: SubjectId,
    fields: &Fields,
    permit: &Permit<'_>,
) -> Option<(DocumentKind, Pii<String>)> {
    let mut text = String::from("DRAFT, not for filing\n\n");
    for (name, value) in fields.iter() {
        text.push_str(&format!("{name}: {}\n", value.expose(permit)));
    }
    (!fields.is_empty()).then(|| (DocumentKind::FormDraft, Pii::new(text)))
}
