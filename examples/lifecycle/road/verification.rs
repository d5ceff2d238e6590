//! Step 1, verification: complete, consistent, and of the right people.

use std::collections::BTreeSet;

use kta_core::Code;
use kta_core::id::DeliveryId;
use kta_core::pii::{DocumentKind, Schema};
use kta_core::pipeline::receive::{self, Received};
use kta_core::pipeline::verify::{self, CaseFile, Desk, Sorted};
use kta_core::policy::{Purpose, Role, Session};

use super::Road;
use crate::cast::{self, Failure};
use crate::story::Story;

impl Road<'_> {
    /// Step 1.3: completeness, accuracy, and that every paper is of the person it is filed under.
    pub(super) async fn verify(
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
            set_aside: BTreeSet::new(),
        })
    }
}
