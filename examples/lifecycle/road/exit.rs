//! Steps 8 and 13: the matter is closed, and how long what remains is kept.

use kta_core::Code;
use kta_core::audit::Label;
use kta_core::id::HoldId;
use kta_core::pii::MatterState;
use kta_core::pipeline::transmit::Transmitted;
use kta_core::pipeline::{dispose, manage, retain};
use kta_core::policy::{Purpose, Role};
use kta_core::time::Timestamp;

use super::{Road, nexus};
use crate::cast::Failure;
use crate::story::Story;

impl Road<'_> {
    /// Step 13: the decision comes, originals go back, the matter is closed.
    pub(super) async fn close(&self, story: &mut Story) -> Result<(), Failure> {
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
    pub(super) async fn retain(
        &self,
        story: &mut Story,
        transmitted: Transmitted,
    ) -> Result<HoldId, Failure> {
        story.chapter("Retention: how long, and why");
        let house = &self.opened.house;
        let staff = self.cast.staff;
        let nexus = nexus();
        let records = self.session(staff.records, Role::Records, Purpose::Disposition);
        let service = self.session(staff.retention, Role::ServiceRetention, Purpose::Retention);
        // Months have passed since anything was judged by this clock: somebody looks at it.
        let security = self.session(staff.ciso, Role::Ciso, Purpose::Security);
        retain::confirm_clock(house, &security).await?;
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
}
