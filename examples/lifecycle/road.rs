//! The road itself: the fifteen steps with everything that goes wrong on the way.

use std::path::Path;

use kta_agency::{Authority, KnownDocument, MatterFacts, Signature};
use kta_core::audit::Label;
use kta_core::id::{DeliveryId, Digest, DocumentId, HoldId, SubjectId};
use kta_core::pii::{Category, DocumentKind, Fields, MatterState, Pii, Schema};
use kta_core::pipeline::dispose::{self, Disposed};
use kta_core::pipeline::receive::{self, Received, Reception};
use kta_core::pipeline::retain::Nexus;
use kta_core::pipeline::transmit::{Filing, Transmitted, submission_key};
use kta_core::pipeline::verify::{CaseFile, Desk, Sorted};
use kta_core::pipeline::{
    collaborate, enter, manage, process, retain, store, transfer, transmit, verify,
};
use kta_core::policy::{Act, Actor, Permit, Purpose, Role, Scope, Session};
use kta_core::ports::Intake;
use kta_core::ports::collaboration::Recipient;
use kta_core::time::Timestamp;
use kta_core::{Code, Error};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::cast::{self, Cast, DeliveryLine, Failure, Manifest};
use crate::doors::Opened;
use crate::packs;
use crate::story::Story;

/// One traveller: everything a step needs.
struct Road<'a> {
    opened: &'a Opened,
    manifest: &'a Manifest,
    family: &'a Path,
    cast: &'a Cast,
    /// How much later than in the manifest everything happens.
    shift: chrono::TimeDelta,
}

pub(crate) async fn travel(
    opened: &mut Opened,
    manifest: &Manifest,
    family: &Path,
    cast: &Cast,
    shift: chrono::TimeDelta,
    story: &mut Story,
) -> Result<Disposed, Failure> {
    opened.house.schedules = schedules(opened, "2026-02-20")?;
    let road = Road {
        opened,
        manifest,
        family,
        cast,
        shift,
    };
    road.found(story).await?;
    let deliveries = road.receive(story).await?;
    let verified = road.verify(story, &deliveries).await?;
    let shared = road.work(story, verified).await?;
    let transmitted = road.transmit(story, shared).await?;
    road.close(story).await?;
    let hold = road.retain(story, transmitted).await?;
    opened.pass_until("2045-01-10T09:00:00Z".parse()?);
    opened.house.schedules = schedules(opened, "2044-11-22")?;
    let road = Road {
        opened,
        manifest,
        family,
        cast,
        shift,
    };
    road.dispose(story, hold).await
}

impl<'a> Road<'a> {
    fn session(&self, who: kta_core::id::ActorId, role: Role, purpose: Purpose) -> Session<'a> {
        self.opened.house.session(who, role, purpose)
    }

    fn case_work(&self, who: kta_core::id::ActorId, role: Role) -> Session<'a> {
        self.session(who, role, Purpose::Representation)
    }

    /// Steps 2.2, 4.2, 9 and 10: who may what, who is trained, which law is in force.
    async fn found(&self, story: &mut Story) -> Result<(), Failure> {
        story.chapter("The house: access list, training, walls, and the law in force");
        let house = &self.opened.house;
        let staff = self.cast.staff;
        manage::found(house, staff.ciso, self.cast.actors(house.gate.now())).await?;
        let attorney = self.case_work(staff.attorney, Role::Attorney);
        let minors: Vec<SubjectId> = ["alma", "ofir"]
            .iter()
            .map(|name| self.cast.person(name))
            .collect::<Result<_, _>>()?;
        manage::open_matter(house, &attorney, self.cast.open(self.manifest)?, &minors).await?;
        manage::amend_matter(house, &attorney, self.cast.matter, "wall", |matter| {
            matter.wall_off(staff.rival)
        })
        .await?;
        story.line("Attorney Rosen once acted for the employer's competitor: an ethical wall stands before the matter is a minute old.");
        story.tell(house).await?;
        Ok(())
    }

    /// Step 1: what clients send, by mail and by the website's form.
    async fn receive(&self, story: &mut Story) -> Result<Vec<(String, DeliveryId)>, Failure> {
        story.chapter("Receipt: mail and web form, into quarantine before anybody sees them");
        let house = &self.opened.house;
        let clerk = self.case_work(self.cast.staff.clerk, Role::Intake);
        let mut deliveries = Vec::new();
        for line in &self.manifest.delivery {
            self.opened
                .pass_until(cast::instant(&line.received)? + self.shift);
            story.line(&line.story);
            let intake: &dyn Intake = if line.channel == "mail" {
                self.post_mail(line)?;
                &*self.opened.mailbox
            } else {
                self.post_form(line).await?;
                &*self.opened.form
            };
            match receive::receive(house, &clerk, intake).await? {
                Reception::Received(received) => {
                    story.line(&format!(
                        "received: channel {}, {} parts",
                        received.verdict().as_str(),
                        received.parts().len()
                    ));
                    let expected: Vec<_> = line.part.iter().map(|part| part.sha256).collect();
                    let digests: Vec<_> = received.parts().iter().map(|part| part.digest).collect();
                    if expected != digests {
                        return Err("what arrived is not what the manifest lists".into());
                    }
                    deliveries.push((line.id.clone(), received.delivery()));
                }
                Reception::Refused { delivery, refusal } => {
                    let code = refusal.code();
                    story.refused(
                        "a mail under the client's address whose domain disowns it",
                        Err::<(), _>(refusal.into()),
                        code,
                    )?;
                    deliveries.push((line.id.clone(), delivery));
                }
                Reception::Nothing => return Err("a delivery did not arrive".into()),
            }
        }
        story.tell(house).await?;
        Ok(deliveries)
    }

    fn post_mail(&self, line: &DeliveryLine) -> Result<(), Failure> {
        let message = std::fs::read(self.family.join(&line.file))?;
        let unique: String = line
            .id
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        Ok(self.opened.mailbox.import(
            cast::instant(&line.received)? + self.shift,
            &unique,
            &message,
        )?)
    }

    /// Sends the recorded request to the form over a real connection.
    async fn post_form(&self, line: &DeliveryLine) -> Result<(), Failure> {
        let head = std::fs::read(self.family.join(&line.file))?;
        let body = std::fs::read(
            self.family
                .join(line.body.as_ref().ok_or("a form without a body")?),
        )?;
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let form = std::sync::Arc::clone(&self.opened.form);
        let server = tokio::spawn(kta_intake::server::serve(form, listener, async move {
            let _ = stopped.await;
        }));
        let mut connection = tokio::net::TcpStream::connect(address).await?;
        // The recorded request, made one that ends its connection so that the answer ends too.
        let head = String::from_utf8(head)?.replacen("\r\n", "\r\nConnection: close\r\n", 1);
        connection.write_all(head.as_bytes()).await?;
        connection.write_all(&body).await?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).await?;
        let _ = stop.send(());
        server.await??;
        let status = answer.get(9..12).ok_or("the form gave no answer")?;
        if !status.starts_with(b"2") && !status.starts_with(b"3") {
            return Err(format!("the form answered {}", String::from_utf8_lossy(status)).into());
        }
        Ok(())
    }

    /// Step 1.3: completeness, accuracy, and that every paper is of the person it is filed under.
    async fn verify(
        &self,
        story: &mut Story,
        deliveries: &[(String, DeliveryId)],
    ) -> Result<verify::Verified, Failure> {
        story.chapter("Verification: complete, consistent, and of the right people");
        let house = &self.opened.house;
        let staff = self.cast.staff;
        let (clerk, reviewer) = (
            self.case_work(staff.clerk, Role::Intake),
            self.case_work(staff.paralegal, Role::Paralegal),
        );
        let destroyer = self.session(staff.destroyer, Role::ServiceDestroy, Purpose::Disposition);
        let desk = Desk {
            clerk: &clerk,
            reviewer: &reviewer,
            destroyer: &destroyer,
        };
        let good = ["01-beneficiary", "02-spouse", "03-employer"];

        let swapped = self.case(
            deliveries,
            &[
                "01-beneficiary",
                "02-spouse",
                "03-employer",
                "05-children-swapped",
            ],
        )?;
        let received = self
            .received(
                &clerk,
                deliveries,
                &[
                    "01-beneficiary",
                    "02-spouse",
                    "03-employer",
                    "05-children-swapped",
                ],
            )
            .await?;
        story.refused(
            "the children's passport pages, each under the other's name",
            verify::verify(house, desk, received, swapped).await,
            Code::RevWrongPerson,
        )?;

        let stranger = self.case(
            deliveries,
            &[
                "01-beneficiary",
                "02-spouse",
                "03-employer",
                "06-other-client",
            ],
        )?;
        let received = self
            .received(
                &clerk,
                deliveries,
                &[
                    "01-beneficiary",
                    "02-spouse",
                    "03-employer",
                    "06-other-client",
                ],
            )
            .await?;
        story.refused(
            "the passport page of a client of another matter",
            verify::verify(house, desk, received, stranger).await,
            Code::RevWrongPerson,
        )?;

        let mut incomplete = self.case(deliveries, &good)?;
        incomplete
            .sorted
            .retain(|sorted| sorted.kind != DocumentKind::MarriageCertificate);
        let received = self.received(&clerk, deliveries, &good).await?;
        story.refused(
            "a file without the marriage certificate",
            verify::verify(house, desk, received, incomplete).await,
            Code::RevIncomplete,
        )?;

        let received = self.received(&clerk, deliveries, &good).await?;
        let verified = verify::verify(house, desk, received, self.case(deliveries, &good)?).await?;
        story.line(&format!(
            "verified: {} documents of {} persons, remarks {:?}",
            verified.documents().len(),
            verified.records().len(),
            verified.remarks()
        ));
        for (name, delivery) in deliveries {
            if !good.contains(&name.as_str()) {
                receive::discard(house, &destroyer, *delivery).await?;
            }
        }
        story.line("What was forged or misdirected is made unreadable in quarantine; its receipts stay as evidence.");
        story.tell(house).await?;
        Ok(verified)
    }

    async fn received(
        &self,
        clerk: &Session<'_>,
        deliveries: &[(String, DeliveryId)],
        names: &[&str],
    ) -> Result<Vec<Received>, Failure> {
        let mut received = Vec::new();
        for name in names {
            let (_, id) = deliveries
                .iter()
                .find(|(known, _)| known == name)
                .ok_or("a delivery is missing")?;
            received.extend(receive::received(&self.opened.house, clerk, *id).await?);
        }
        Ok(received)
    }

    /// Which attachment is what, as the people at the desk sorted it by what the senders said.
    fn case(
        &self,
        deliveries: &[(String, DeliveryId)],
        names: &[&str],
    ) -> Result<CaseFile, Failure> {
        let schema = Schema::person();
        let mut sorted = Vec::new();
        for name in names {
            let line = self.manifest.delivery(name)?;
            let (_, delivery) = deliveries
                .iter()
                .find(|(known, _)| known == name)
                .ok_or("a delivery is missing")?;
            for (part, what) in line.part.iter().enumerate() {
                let (subject, kind) = (
                    self.cast.person(&what.for_whom)?,
                    cast::kind(&what.document)?,
                );
                // A later delivery replaces what an earlier one said of the same paper.
                sorted.retain(|known: &Sorted| !(known.subject == subject && known.kind == kind));
                sorted.push(Sorted {
                    delivery: *delivery,
                    part,
                    subject,
                    kind,
                });
            }
        }
        let persons = self
            .manifest
            .person
            .iter()
            .map(|person| Ok((self.cast.person(&person.id)?, person.fields(&schema)?)));
        Ok(CaseFile {
            matter: self.cast.matter,
            persons: persons.collect::<Result<_, Failure>>()?,
            sorted,
        })
    }

    /// Steps 2 to 6: CRM, transfer, processing, documents, collaboration, and who may not.
    async fn work(
        &self,
        story: &mut Story,
        verified: verify::Verified,
    ) -> Result<collaborate::Shared, Failure> {
        let house = &self.opened.house;
        let staff = self.cast.staff;
        story.chapter("Who may not: walls, party scope, training");
        let noam = self.cast.person("noam")?;
        let medical = || {
            Scope::of(noam, Category::SpecialSealed)
                .in_matter(self.cast.matter)
                .about("document", "medical_exam")
        };
        let employer = self.case_work(staff.employer, Role::Petitioner);
        story.refused(
            "the employer asks for the beneficiary's medical file",
            employer.permit(Act::Open, medical()).await.map(drop),
            Code::AclDeny,
        )?;
        let ordinary = || Scope::of(noam, Category::Identity).in_matter(self.cast.matter);
        let rival = self.case_work(staff.rival, Role::Attorney);
        story.refused(
            "an attorney behind the wall",
            rival.permit(Act::Open, ordinary()).await.map(drop),
            Code::AclDeny,
        )?;
        let trainee = self.case_work(staff.trainee, Role::Paralegal);
        story.refused(
            "a trainee without training",
            trainee.permit(Act::Open, ordinary()).await.map(drop),
            Code::TrnExpired,
        )?;
        let marketing = self.session(staff.paralegal, Role::Paralegal, Purpose::Marketing);
        story.refused(
            "reading for a newsletter",
            marketing.permit(Act::Open, ordinary()).await.map(drop),
            Code::PrcPurpose,
        )?;
        story.tell(house).await?;

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

    /// Step 7: the package for the agency, and the person who files it.
    async fn transmit(
        &self,
        story: &mut Story,
        shared: collaborate::Shared,
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
    fn file_facts(&self, shared: &collaborate::Shared, authority: Digest) -> Result<(), Failure> {
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

    /// Step 13: the decision comes, originals go back, the matter is closed.
    async fn close(&self, story: &mut Story) -> Result<(), Failure> {
        story.chapter("Exit: the decision, the originals, and the closing that starts the clocks");
        let house = &self.opened.house;
        let attorney = self.case_work(self.cast.staff.attorney, Role::Attorney);
        self.opened
            .pass_until("2026-09-14T10:00:00Z".parse::<Timestamp>()? + self.shift);
        manage::amend_matter(house, &attorney, self.cast.matter, "decision", |matter| {
            matter.advance(MatterState::Decided)
        })
        .await?;
        let today = house.gate.now().date_naive();
        story.refused(
            "closing with a deadline open",
            manage::close_matter(house, &attorney, self.cast.matter, today).await,
            Code::ExtOpen,
        )?;
        manage::amend_matter(house, &attorney, self.cast.matter, "deadlines", |matter| {
            matter.open_points.clear();
            Ok(())
        })
        .await?;
        story.refused(
            "closing while a sealed original of the client lies in the safe",
            manage::close_matter(house, &attorney, self.cast.matter, today).await,
            Code::DspOriginal,
        )?;
        manage::amend_matter(house, &attorney, self.cast.matter, "originals", |matter| {
            matter.originals_held = 0;
            Ok(())
        })
        .await?;
        manage::close_matter(house, &attorney, self.cast.matter, today).await?;
        story.line("The sealed envelope went back to the client unopened; the matter is closed.");
        story.tell(house).await?;
        Ok(())
    }

    /// Step 8: kept as long as the law wants, and longer where a hold says so.
    async fn retain(&self, story: &mut Story, transmitted: Transmitted) -> Result<HoldId, Failure> {
        story.chapter("Retention: how long, and why");
        let house = &self.opened.house;
        let staff = self.cast.staff;
        let nexus = nexus();
        let records = self.session(staff.records, Role::Records, Purpose::Disposition);
        let service = self.session(staff.retention, Role::ServiceRetention, Purpose::Retention);
        let retained = retain::retain(house, &service, transmitted, &nexus).await?;
        for (subject, evaluation) in retained.evaluations() {
            let name = self
                .cast
                .people
                .iter()
                .find(|(_, id)| *id == subject)
                .map_or("?", |(name, _)| name);
            let rules: Vec<_> = evaluation
                .steps
                .iter()
                .map(|step| format!("{} gave {}", step.rule, step.gave))
                .collect();
            story.line(&format!(
                "[{name}] {:?} ({})",
                evaluation.outcome,
                rules.join(", ")
            ));
        }
        story.refused(
            "destruction years too early",
            dispose::propose(house, &records, &retained).await,
            Code::DspOpen,
        )?;
        let counsel = self.session(staff.counsel, Role::LegalHold, Purpose::Compliance);
        let reason = Label::fixed("litigation.2026-17");
        let hold =
            manage::place_hold(house, &counsel, &[self.cast.person("noam")?], None, reason).await?;
        story.line("General counsel places a legal hold on the beneficiary's data.");
        story.tell(house).await?;
        Ok(hold.id)
    }

    /// Steps 13 and 14: provably gone, when nothing stands against it any more.
    async fn dispose(&self, story: &mut Story, hold: HoldId) -> Result<Disposed, Failure> {
        story.chapter("Eighteen years later; the legal hold still stands");
        let house = &self.opened.house;
        let staff = self.cast.staff;
        let nexus = nexus();
        let records = self.session(staff.records, Role::Records, Purpose::Disposition);
        let service = self.session(staff.retention, Role::ServiceRetention, Purpose::Retention);
        let counsel = self.session(staff.counsel, Role::LegalHold, Purpose::Compliance);
        let officer = self.session(staff.dpo, Role::Dpo, Purpose::Disposition);
        story.line("The law watch has read every rule again; privacy officer and attorney signed the pack's new version.");
        story.line("Everybody who takes part was trained again.");
        let security = self.session(staff.ciso, Role::Ciso, Purpose::Security);
        self.train(&security, house.gate.now()).await?;
        let retained = retain::reconsider(house, &service, self.cast.matter, &nexus).await?;
        story.refused(
            "destruction under a legal hold",
            dispose::propose(house, &records, &retained).await,
            Code::DstHold,
        )?;
        manage::release_hold(house, &counsel, hold).await?;
        story.tell(house).await?;

        story.chapter("Destruction: proposed, approved by two, executed, probed by somebody else");
        let retained = retain::reconsider(house, &service, self.cast.matter, &nexus).await?;
        let proposed = dispose::propose(house, &records, &retained).await?;
        story.line(&format!(
            "proposed: {} copies, frozen as {}",
            proposed.copies(),
            proposed.set()
        ));
        story.refused(
            "the proposer approves",
            dispose::approve(house, &records, proposed).await.map(drop),
            Code::DspSelf,
        )?;
        let proposed = dispose::propose(house, &records, &retained).await?;
        let attorney = self.session(staff.attorney, Role::Attorney, Purpose::Disposition);
        let once = dispose::approve(house, &attorney, proposed).await?;
        let approved = dispose::approve_second(house, &officer, once).await?;
        let destroyer = self.session(staff.destroyer, Role::ServiceDestroy, Purpose::Disposition);
        let validator = self.session(staff.validator, Role::Records, Purpose::Disposition);
        let mut disposed =
            dispose::execute(house, &destroyer, &validator, approved, &nexus).await?;
        story.tell(house).await?;
        if let Some(until) = disposed.interim_until() {
            story.line(&format!(
                "Providers keep copies until {until}: the certificates are interim."
            ));
            story.refused(
                "a final certificate while a provider's window runs",
                dispose::finalise(house, &validator, disposed).await,
                Code::DstResidue,
            )?;
            self.opened.pass_until(until + chrono::TimeDelta::days(1));
            disposed = dispose::disposed(house, self.cast.matter)
                .await?
                .ok_or("the certificates are gone")?;
            disposed = dispose::finalise(house, &validator, disposed).await?;
            story.line("The windows have ended; every place was probed again.");
        }
        story.line(&format!(
            "{} certificates of destruction, one for each person",
            disposed.certificates().len()
        ));
        story.refused(
            "opening a record whose key is destroyed",
            house
                .sealer
                .keys()
                .subject_key(self.cast.person("noam")?)
                .await
                .map(drop),
            Code::CryErased,
        )?;
        let mut again = self.cast.open(self.manifest)?;
        again.id = kta_core::id::MatterId::derived(&[b"the same people again"]);
        let session = self.case_work(staff.attorney, Role::Attorney);
        story.refused(
            "the erased family in a new matter",
            manage::open_matter(house, &session, again, &[]).await,
            Code::SupListed,
        )?;
        story.tell(house).await?;
        Ok(disposed)
    }

    async fn train(&self, security: &Session<'_>, now: Timestamp) -> Result<(), Failure> {
        let until = now.date_naive() + chrono::Months::new(12);
        for actor in self.cast.actors(now) {
            if actor.trained_until.is_some() {
                manage::list_actor(
                    &self.opened.house,
                    security,
                    Actor {
                        trained_until: Some(until),
                        ..actor
                    },
                )
                .await?;
            }
        }
        Ok(())
    }
}

/// Tries to file, expects a lawful no, and gives the receipt back together with it.
async fn attempt(
    house: &kta_core::pipeline::House,
    session: &Session<'_>,
    shared: collaborate::Shared,
    filing: Filing,
) -> Result<(collaborate::Shared, Error), Failure> {
    match transmit::attempt(house, session, shared, filing).await {
        Ok(_) => Err("a package went out that must not".into()),
        Err((error, shared)) => Ok((shared, error)),
    }
}

fn find(shared: &collaborate::Shared, kind: DocumentKind) -> Result<DocumentId, Failure> {
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

/// The firm is in Israel, and the clients' data did not come from Europe.
fn nexus() -> Nexus {
    Nexus {
        regimes: [Label::fixed("IL")].into(),
        custodian: false,
    }
}

/// The schedules in force now, of packs whose sources were last read on this day.
fn schedules(
    opened: &Opened,
    read_on: &str,
) -> Result<std::collections::BTreeMap<Label, kta_core::retention::Schedule>, Failure> {
    packs::in_force(
        &opened.keyring,
        read_on.parse()?,
        opened.house.gate.now().date_naive(),
    )
}
