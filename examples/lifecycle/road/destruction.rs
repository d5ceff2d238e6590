//! Steps 13 and 14: provably gone, when nothing stands against it any more.

use kta_core::Code;
use kta_core::id::HoldId;
use kta_core::pipeline::dispose::{self, Disposed};
use kta_core::pipeline::{manage, retain};
use kta_core::policy::{Purpose, Role};

use super::{Road, nexus};
use crate::cast::Failure;
use crate::story::Story;

impl Road<'_> {
    /// Steps 13 and 14: provably gone, when nothing stands against it any more.
    pub(super) async fn dispose(
        &self,
        story: &mut Story,
        hold: HoldId,
    ) -> Result<Disposed, Failure> {
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
        self.train(&self.cast.trained()).await?;
        let security = self.session(staff.ciso, Role::Ciso, Purpose::Security);
        retain::confirm_clock(house, &security).await?;
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
}
