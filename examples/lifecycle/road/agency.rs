//! Step 7: the package for the agency, and the person who files it.

use kta_agency::{Authority, KnownDocument, MatterFacts, Signature};
use kta_core::audit::Label;
use kta_core::id::{Digest, DocumentId};
use kta_core::pii::{DocumentKind, Pii};
use kta_core::pipeline::collaborate::Shared;
use kta_core::pipeline::transmit::{self, Filing, Transmitted, submission_key};
use kta_core::policy::{Act, Purpose, Role, Scope, Session};
use kta_core::{Code, Error};

use super::Road;
use crate::cast::Failure;
use crate::story::Story;

impl Road<'_> {
    /// Step 7: the package for the agency, and the person who files it.
    pub(super) async fn transmit(
        &self,
        story: &mut Story,
        shared: Shared,
    ) -> Result<Transmitted, Failure> {
        story.chapter("Government agency: exactly these papers of exactly these people");
        let house = &self.opened.house;
        let staff = self.cast.staff;
        let authority = Digest::of(b"Form G-28, signed by the client on paper, kept in the safe");
        self.file_facts(&shared, authority)?;
        let attorney = self.session(staff.attorney, Role::Attorney, Purpose::Filing);
        let filing = |documents| Filing {
            agency: Label::fixed("us.uscis"),
            form: Label::fixed("i-129"),
            edition: chrono::NaiveDate::from_ymd_opt(2025, 1, 20).unwrap_or_default(),
            documents,
            authority: Some(authority),
        };
        let beneficiary = self.cast.person("noam")?;
        let papers: Vec<DocumentId> = shared
            .stored()
            .documents()
            .filter(|document| {
                document.kind == DocumentKind::Lca
                    || document.subject == beneficiary
                        && matches!(document.kind, DocumentKind::Passport | DocumentKind::Degree)
            })
            .map(|document| document.id)
            .collect();

        let stranger = DocumentId::derived(&[b"a document of another client"]);
        let mut mixed = papers.clone();
        mixed.push(stranger);
        let (shared, refused) = attempt(house, &attorney, shared, filing(mixed)).await?;
        story.refused(
            "a filing with a document of another client in it",
            Err::<(), _>(refused),
            Code::AgyWrongPerson,
        )?;
        let mut excess = papers.clone();
        let spouse = self.cast.person("dana")?;
        excess.extend(
            shared
                .stored()
                .documents()
                .filter(|d| d.subject == spouse && d.kind == DocumentKind::Passport)
                .map(|d| d.id),
        );
        let (shared, refused) = attempt(house, &attorney, shared, filing(excess)).await?;
        story.refused(
            "a filing with the spouse's passport, which the form does not ask for",
            Err::<(), _>(refused),
            Code::AgyExcess,
        )?;

        let transmitted = transmit::transmit(house, &attorney, shared, filing(papers)).await?;
        story.line(&format!(
            "package {} of {} parts is prepared at the portal desk",
            transmitted.submission().package,
            transmitted.package().parts.len()
        ));
        let form = Label::fixed("i-129");
        let scope = Scope::over(
            transmitted.package().parts.iter().map(|part| part.subject),
            transmitted.package().parts.iter().map(|part| part.category),
        );
        let permit = attorney
            .permit(Act::Transmit, scope.in_matter(self.cast.matter))
            .await?;
        let receipt = Pii::new("IOE0912345678".to_owned());
        let key = submission_key(self.cast.matter, &form);
        self.opened
            .desk
            .record_act(key, &receipt, house.gate.now(), &permit)
            .await?;
        story.line("The attorney filed at the portal and recorded the receipt number; the readable copies on the desk are overwritten.");
        story.tell(house).await?;
        Ok(transmitted)
    }

    /// What the firm knows about the documents, for the check of the package.
    fn file_facts(&self, shared: &Shared, authority: Digest) -> Result<(), Failure> {
        let parties = self
            .opened
            .house
            .gate
            .directory(|directory| directory.matters[&self.cast.matter].parties.clone());
        let known = shared.stored().documents().map(|document| {
            let known = KnownDocument {
                matter: document.matter,
                subject: document.subject,
                digest: document.digest,
                category: document.classification.category,
                signature: Signature::None,
                language: Label::fixed("en"),
                translates: None,
            };
            (document.id, known)
        });
        self.opened.facts.file(MatterFacts {
            matter: self.cast.matter,
            parties,
            documents: known.collect(),
            authority: Some(Authority {
                digest: authority,
                attorney: self.cast.staff.attorney,
                from: self.opened.house.gate.now().date_naive(),
                until: None,
            }),
        });
        Ok(())
    }
}

/// Tries to file, expects a lawful no, and gives the receipt back together with it.
async fn attempt(
    house: &kta_core::pipeline::House,
    session: &Session<'_>,
    shared: Shared,
    filing: Filing,
) -> Result<(Shared, Error), Failure> {
    match transmit::attempt(house, session, shared, filing).await {
        Ok(_) => Err("a package went out that must not".into()),
        Err((error, shared)) => Ok((shared, error)),
    }
}
