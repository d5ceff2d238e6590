//! Who may not, and what it takes to be one who may.

use kta_core::Code;
use kta_core::pii::Category;
use kta_core::policy::{Act, Purpose, Role, Scope};
use kta_core::steward::training;

use super::Road;
use super::stewards::VALID_MONTHS;
use crate::cast::Failure;
use crate::story::Story;

impl Road<'_> {
    /// Steps 4 and 9: walls, party scope, purposes, and no data before the training.
    pub(super) async fn access(&self, story: &mut Story) -> Result<(), Failure> {
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
        let mut completion = self.completion(staff.trainee);
        completion.completed_by = staff.paralegal;
        let security = self.session(staff.ciso, Role::Ciso, Purpose::Security);
        story.refused(
            "the trainee's course, completed by somebody else",
            training::record(house, &security, completion, VALID_MONTHS).await,
            Code::TrnIdentity,
        )?;
        self.train(&[staff.trainee]).await?;
        trainee.permit(Act::Open, ordinary()).await.map(drop)?;
        story.line("The trainee completes the course, and the same request is admitted.");
        story.tell(house).await?;
        Ok(())
    }
}
