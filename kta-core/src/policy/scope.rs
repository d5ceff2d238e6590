//! Over what somebody wants to act.

use std::collections::{BTreeMap, BTreeSet};

use crate::audit::{Event, Label, Safe};
use crate::id::{ActorId, Digest, MatterId, SubjectId};
use crate::pii::Category;

/// Over what somebody wants to act: persons, categories, and the matter they stand in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub(super) matter: Option<MatterId>,
    pub(super) subjects: BTreeSet<SubjectId>,
    pub(super) categories: BTreeSet<Category>,
    pub(super) other_than: Option<ActorId>,
    held_through: BTreeMap<SubjectId, BTreeSet<MatterId>>,
    facts: Vec<(&'static str, Safe)>,
}

impl Scope {
    /// The firm's own affairs: no person's data.
    #[must_use]
    pub fn firm() -> Self {
        Self {
            matter: None,
            subjects: BTreeSet::new(),
            categories: BTreeSet::from([Category::FirmRecord]),
            other_than: None,
            held_through: BTreeMap::new(),
            facts: Vec::new(),
        }
    }

    /// One person's data of one category.
    #[must_use]
    pub fn of(subject: SubjectId, category: Category) -> Self {
        Self {
            subjects: BTreeSet::from([subject]),
            categories: BTreeSet::from([category]),
            ..Self::firm()
        }
    }

    /// Several persons' data of several categories: every person with every category.
    #[must_use]
    pub fn over(
        subjects: impl IntoIterator<Item = SubjectId>,
        categories: impl IntoIterator<Item = Category>,
    ) -> Self {
        Self {
            subjects: subjects.into_iter().collect(),
            categories: categories.into_iter().collect(),
            ..Self::firm()
        }
    }

    /// The same within this matter.
    #[must_use]
    pub fn in_matter(mut self, matter: impl Into<Option<MatterId>>) -> Self {
        self.matter = matter.into();
        self
    }

    /// The matters whose holds stand against destroying what the scope covers of this person; all
    /// of the person's where it names none.
    pub(super) fn reached(&self, subject: SubjectId) -> Option<BTreeSet<MatterId>> {
        let others = self.held_through.get(&subject).into_iter().flatten();
        let matter = self.matter?;
        Some(others.copied().chain([matter]).collect())
    }

    /// The same, where it also touches what `subject` has in these matters: a legal hold on one of
    /// them stands against destruction as a hold on the person does.
    #[must_use]
    pub fn held_through(
        mut self,
        subject: SubjectId,
        matters: impl IntoIterator<Item = MatterId>,
    ) -> Self {
        self.held_through
            .entry(subject)
            .or_default()
            .extend(matters);
        self
    }

    /// The same, by somebody other than `actor`.
    #[must_use]
    pub fn other_than(mut self, actor: ActorId) -> Self {
        self.other_than = Some(actor);
        self
    }

    /// The same with a fact for the log, such as the document it is about.
    #[must_use]
    pub fn about(mut self, what: &'static str, fact: impl Into<Safe>) -> Self {
        self.facts.push((what, fact.into()));
        self
    }

    pub(super) fn describe(&self, event: Event) -> Event {
        let one = (self.subjects.len() == 1)
            .then(|| self.subjects.first().copied())
            .flatten();
        let mut event = event.of_subject(one).in_matter(self.matter);
        if self.subjects.len() > 1 {
            let mut bytes = Vec::with_capacity(self.subjects.len() * 16);
            self.subjects
                .iter()
                .for_each(|subject| bytes.extend_from_slice(subject.as_bytes()));
            event = event
                .with("subjects", self.subjects.len())
                .with("set", Digest::of(&bytes));
        }
        let names: Vec<_> = self
            .categories
            .iter()
            .map(|category| category.as_str())
            .collect();
        if let Ok(names) = Label::new(names.join("+")) {
            event = event.with("categories", names);
        }
        self.facts
            .iter()
            .fold(event, |event, (what, fact)| event.with(what, fact.clone()))
    }
}
