//! Completeness profiles: which documents a kind of matter needs of whom, as data.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::audit::Label;
use crate::id::SubjectId;
use crate::pii::{DocumentKind, FieldName, Matter, Party};

/// What a kind of matter needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The kind of matter, for example `us.h1b`.
    pub kind: Label,
    /// The profile's version; a review cites it.
    pub version: Label,
    /// The documents needed of each party.
    pub required: BTreeMap<Party, BTreeSet<DocumentKind>>,
    /// The documents that may be there besides; anything else is excess (GDPR art. 5(1)(c)).
    pub optional: BTreeMap<Party, BTreeSet<DocumentKind>>,
    /// The fields needed of each party.
    pub fields: BTreeMap<Party, BTreeSet<FieldName>>,
    /// A passport must be valid for this many more months on the day of the review.
    pub passport_months: u32,
}

/// One thing that is missing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Missing {
    /// Of whom.
    pub subject: SubjectId,
    /// The document or field.
    pub item: Label,
}

impl Profile {
    /// An employer-sponsored H-1B with its H-4 family (8 CFR 214.2(h)), as firms file it: a
    /// starting point that a firm's own profile replaces.
    #[must_use]
    pub fn h1b() -> Self {
        use DocumentKind as D;
        use Party as P;
        let fields = |names: &[&'static str]| {
            names
                .iter()
                .copied()
                .map(FieldName::fixed)
                .collect::<BTreeSet<_>>()
        };
        let person = [
            "family_name",
            "given_names",
            "birth_date",
            "nationality",
            "passport_number",
            "passport_expiry",
        ];
        Self {
            kind: Label::fixed("us.h1b"),
            version: Label::fixed("2026.11"),
            required: BTreeMap::from([
                (P::Petitioner, BTreeSet::from([D::Lca, D::EmployerLetter])),
                (
                    P::Beneficiary,
                    BTreeSet::from([D::Passport, D::Degree, D::Resume]),
                ),
                (
                    P::Spouse,
                    BTreeSet::from([D::Passport, D::MarriageCertificate]),
                ),
                (P::Child, BTreeSet::from([D::Passport, D::BirthCertificate])),
            ]),
            optional: BTreeMap::from([
                (
                    P::Petitioner,
                    BTreeSet::from([D::G28, D::FormI129, D::FormDraft, D::Receipt]),
                ),
                (
                    P::Beneficiary,
                    BTreeSet::from([
                        D::Photo,
                        D::Translation,
                        D::MedicalExam,
                        D::BirthCertificate,
                        D::G28,
                        D::FormDraft,
                        D::FormI129,
                    ]),
                ),
                (
                    P::Spouse,
                    BTreeSet::from([
                        D::Photo,
                        D::Translation,
                        D::BirthCertificate,
                        D::FormI539,
                        D::FormDraft,
                    ]),
                ),
                (
                    P::Child,
                    BTreeSet::from([
                        D::Photo,
                        D::Translation,
                        D::CustodyOrder,
                        D::FormI539,
                        D::FormDraft,
                    ]),
                ),
            ]),
            fields: BTreeMap::from([
                (P::Beneficiary, fields(&person)),
                (P::Spouse, fields(&person)),
                (P::Child, fields(&person)),
            ]),
            passport_months: 6,
        }
    }

    /// Exactly what is missing, given what each party has.
    #[must_use]
    pub fn missing(
        &self,
        matter: &Matter,
        documents: &BTreeMap<SubjectId, BTreeSet<DocumentKind>>,
        fields: &BTreeMap<SubjectId, BTreeSet<FieldName>>,
    ) -> Vec<Missing> {
        let mut missing = Vec::new();
        for (subject, party) in &matter.parties {
            for kind in self.required.get(party).into_iter().flatten() {
                if !documents
                    .get(subject)
                    .is_some_and(|have| have.contains(kind))
                {
                    missing.push(Missing {
                        subject: *subject,
                        item: Label::fixed(kind.as_str()),
                    });
                }
            }
            for name in self.fields.get(party).into_iter().flatten() {
                if !fields.get(subject).is_some_and(|have| have.contains(name)) {
                    missing.push(Missing {
                        subject: *subject,
                        item: name.label().clone(),
                    });
                }
            }
        }
        missing
    }

    /// Whether a document of this kind may be kept for this party at all.
    #[must_use]
    pub fn wants(&self, party: Party, kind: DocumentKind) -> bool {
        [&self.required, &self.optional]
            .iter()
            .any(|set| set.get(&party).is_some_and(|kinds| kinds.contains(&kind)))
    }
}
