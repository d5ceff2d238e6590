//! The house before anybody sends anything: who may what, who is trained, which law is in force.

use kta_core::id::SubjectId;
use kta_core::pipeline::manage;
use kta_core::policy::Role;

use super::Road;
use crate::cast::Failure;
use crate::story::Story;

impl Road<'_> {
    /// Steps 2.2, 4.2, 9 and 10: who may what, who is trained, which law is in force.
    pub(super) async fn found(&self, story: &mut Story) -> Result<(), Failure> {
        story.chapter("The house: access list, training, walls, and the law in force");
        let house = &self.opened.house;
        let staff = self.cast.staff;
        manage::found(house, staff.ciso, self.cast.actors()).await?;
        self.train(&self.cast.trained()).await?;
        story.line("Everybody but the new trainee has completed this year's training; it is on the register, and the access list reads it.");
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
}
