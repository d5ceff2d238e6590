//! The steward's wing on the road: training, access review, incidents, improvement.

use std::collections::{BTreeMap, BTreeSet};

use kta_core::audit::Label;
use kta_core::id::ActorId;
use kta_core::policy::{Act, Purpose, Role, Scope};
use kta_core::ports::AccessReview as _;
use kta_core::ports::store::{Register, SheetQuery};
use kta_core::steward::{
    Approved, Certification, Completion, Incident, IncidentKind, improvement, incident, review,
    training,
};
use kta_core::{Code, Error, Refusal};

use super::Road;
use crate::cast::Failure;
use crate::story::Story;

/// How long the course holds.
pub(super) const VALID_MONTHS: u32 = 12;

/// How often the access list is certified.
const REVIEW_MONTHS: u32 = 3;

impl Road<'_> {
    /// Step 2.2: who has access to the CRM, held against the list that the firm approved.
    pub(super) async fn review(&self, story: &mut Story) -> Result<(), Failure> {
        story.chapter("Access review: who is in the CRM, and who says so");
        let house = &self.opened.house;
        let staff = self.cast.staff;
        let officer = self.session(staff.ciso, Role::Ciso, Purpose::Security);
        let permit = officer.permit(Act::Review, Scope::firm()).await?;
        let users = match self.opened.crm.users(&permit).await {
            Err(Error::Broken(fault)) if self.opened.has_outside_crm() => {
                story.line(&format!(
                    "The CRM outside does not tell who its users are ({fault}): the review is owed."
                ));
                return Ok(());
            }
            users => users?,
        };
        // The firm gave every user of its CRM plain rights, the integration's own too.
        let approved: BTreeMap<_, _> = users
            .iter()
            .map(|user| {
                let listed = Approved {
                    actor: None,
                    administrator: false,
                };
                (user.locator.clone(), listed)
            })
            .collect();
        let today = house.gate.now().date_naive();
        let certified = |last: Option<Certification>| last.map(|last| last.on);
        let last = certified(review::last_certification(house).await?);
        let before = review::review_access(&users, &approved, last, today, REVIEW_MONTHS);
        for finding in &before {
            story.line(&format!("finding: {finding}"));
        }
        let records = self.session(staff.records, Role::Records, Purpose::Security);
        story.refused(
            "the records officer certifies the access list",
            review::certify(house, &records, &users).await,
            Code::AclDeny,
        )?;
        review::certify(house, &officer, &users).await?;
        let last = certified(review::last_certification(house).await?);
        let after = review::review_access(&users, &approved, last, today, REVIEW_MONTHS);
        let is_stale = |found: &[Refusal]| found.iter().any(|one| one.code() == Code::AccStale);
        if !is_stale(&before) || is_stale(&after) {
            return Err("the certification of the access list has no effect".into());
        }
        story.line(&format!(
            "The security officer certified the list of {} users; {} findings remain for the CRM's administrator.",
            users.len(),
            after.len()
        ));
        if !self.opened.has_outside_crm() {
            self.opened.slip_a_user_into_the_crm();
            let users = self.opened.crm.users(&permit).await?;
            let drifted = review::review_access(&users, &approved, last, today, REVIEW_MONTHS);
            let new: Vec<_> = drifted.iter().filter(|one| !after.contains(one)).collect();
            let [finding] = new[..] else {
                return Err("one user more must be one finding more".into());
            };
            story.line(&format!(
                "Then the CRM lets somebody in whom nobody listed: {finding}"
            ));
            if finding.code() != Code::AccUnlisted {
                return Err("the user whom nobody listed was found for another reason".into());
            }
        }
        story.tell(house).await?;
        Ok(())
    }

    /// Step 11: what was forged and misdirected is an incident, with its clock.
    pub(super) async fn incidents(&self, story: &mut Story) -> Result<(), Failure> {
        story.chapter("Incidents: what was forged or misdirected is answered for");
        let house = &self.opened.house;
        let officer = self.session(self.cast.staff.dpo, Role::Dpo, Purpose::Compliance);
        let query = SheetQuery::all(house.tenant(), Register::Incidents);
        let mut kinds = BTreeSet::new();
        for sheet in house.doors.store.sheets(&query).await? {
            let open: Incident = serde_json::from_slice(&sheet.body)?;
            if kinds.insert(open.kind) && open.kind == IncidentKind::Spoofing {
                story.refused(
                    "closing an incident before the firm decided whether it is aware of a breach",
                    incident::close(house, &officer, open.id).await,
                    Code::IncClock,
                )?;
            }
            let aware = incident::aware(house, &officer, open.id).await?;
            let until = aware.authority_deadline().ok_or("no clock was started")?;
            let closed = incident::close(house, &officer, open.id).await?;
            story.line(&format!(
                "{}: detected {}, the authority's clock would end {until}, closed: nothing of a client got out",
                closed.kind.as_str(),
                closed.detected
            ));
        }
        if !kinds.contains(&IncidentKind::Spoofing) || !kinds.contains(&IncidentKind::Misdirected) {
            return Err("the forged mail and the foreign passport left no incident".into());
        }
        story.tell(house).await?;
        Ok(())
    }

    /// Step 15: what the log says about the house, and a change that is checked before it closes.
    pub(super) async fn improve(&self, story: &mut Story) -> Result<(), Failure> {
        story.chapter("Improvement: measured from the log, changed, and measured again");
        let house = &self.opened.house;
        let staff = self.cast.staff;
        let officer = self.session(staff.dpo, Role::Dpo, Purpose::Compliance);
        let measures = improvement::measure(house).await?;
        for measure in &measures {
            story.line(&format!(
                "{} {} ({})",
                measure.name(),
                measure.value(),
                measure.source()
            ));
        }
        let open = measures
            .iter()
            .find(|measure| measure.name().as_str() == "incidents.open")
            .ok_or("incidents are not measured")?;
        if open.value() != 0 {
            return Err("an incident of the road was left open".into());
        }
        let change = Label::fixed("passport-pages-one-by-one");
        let today = house.gate.now().date_naive();
        let due = today + chrono::Days::new(30);
        improvement::open_change(house, &officer, change.clone(), staff.clerk, due).await?;
        story.refused(
            "closing a change whose effect nobody checked",
            improvement::close_change(house, &officer, &change).await,
            Code::ImpEffect,
        )?;
        improvement::check_effect(house, &officer, &change, open).await?;
        improvement::close_change(house, &officer, &change).await?;
        story.tell(house).await?;
        Ok(())
    }

    /// Step 9: records that these people completed this year's course today.
    pub(super) async fn train(&self, people: &[ActorId]) -> Result<(), Failure> {
        let house = &self.opened.house;
        let security = self.session(self.cast.staff.ciso, Role::Ciso, Purpose::Security);
        for who in people {
            training::record(house, &security, self.completion(*who), VALID_MONTHS).await?;
        }
        Ok(())
    }

    /// That this person passed the course today.
    pub(super) fn completion(&self, who: ActorId) -> Completion {
        Completion {
            actor: who,
            module: Label::fixed("privacy.basics:1"),
            completed_by: who,
            on: self.opened.house.gate.now().date_naive(),
            score: 90,
        }
    }
}
