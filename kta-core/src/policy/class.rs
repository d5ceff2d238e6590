//! What governs a record, as one interned class: a change of law or purpose touches a few
//! classes, not millions of rows.
//!
//! ```text
//!   record ──► class as it was written ──► the class that governs it now
//!                        │    Supersede: these arrows move, the records stay
//!                        └──► Successions: what governed when
//! ```
//!
//! A class never changes: its name is the digest of what it says. A new law or purpose is a new
//! class that [supersedes](crate::ports::store::Change::Supersede) the old one; one person's
//! objection [moves](crate::ports::store::Change::Reclass) that person's records to a class that
//! says so. Neither reseals anything, because a record's seals do not bind its class.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::audit::Label;
use crate::id::Digest;
use crate::policy::purpose::{LawfulBasis, Purpose, SpecialGround};
use crate::refusal::Code;
use crate::time::Timestamp;

/// The rules that a record lives under. Records point to it by [`id`](Self::id).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyClass {
    /// Purposes and the basis of each.
    pub purposes: BTreeMap<Purpose, LawfulBasis>,
    /// The ground for special categories, if recorded.
    #[serde(default)]
    pub ground: Option<SpecialGround>,
    /// Where the data came from.
    pub origin: Origin,
    /// The retention class, for example `CASE.FILE`.
    pub retention: Label,
    /// Who receives the data, by label: recipients and kinds of recipients.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub sharing: BTreeSet<Label>,
    /// Purposes that the person objected to (GDPR article 21).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub objections: BTreeSet<Purpose>,
}

impl PolicyClass {
    /// The class's identity: the digest of its canonical form. What is empty is left out of that
    /// form, so classes keep their identity when the form learns to say more.
    #[must_use]
    pub fn id(&self) -> Digest {
        // Serialising a struct of strings and maps with string keys cannot fail.
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// Whether data of this class may be used for `purpose`: a purpose that the class has and
    /// nobody objected to, or one that the law itself gives ([`Purpose::LEGAL`]), which needs no
    /// basis in the class and against which no objection stands.
    ///
    /// # Errors
    /// [`Code::PrcPurpose`] for a purpose that the class does not have;
    /// [`Code::PrcRestricted`] for one that the person objected to.
    pub fn admits(&self, purpose: Purpose) -> Result<(), Code> {
        if purpose.is_legal() {
            Ok(())
        } else if !self.purposes.contains_key(&purpose) {
            Err(Code::PrcPurpose)
        } else if self.objections.contains(&purpose) {
            Err(Code::PrcRestricted)
        } else {
            Ok(())
        }
    }

    /// The purposes that the class has and admits: under these a store finds its records.
    pub fn admitted(&self) -> impl Iterator<Item = Purpose> {
        let purposes = self.purposes.keys().copied();
        purposes.filter(|purpose| self.admits(*purpose).is_ok())
    }
}

/// One sheet of [`Register::Successions`](crate::ports::store::Register::Successions), which
/// lists them in the order in which they took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Succession {
    /// The class that was superseded, or put in force again.
    pub class: Digest,
    /// By which class it was superseded; absent when it was put in force again.
    pub by: Option<Digest>,
    /// When.
    pub at: Timestamp,
}

impl Succession {
    /// What governed, at the instant `at`, a record that was put under `class` at the instant
    /// `put`, if all the successions of the firm are given in their order. When a record was put
    /// under which class is on the audit log.
    #[must_use]
    pub fn governing(all: &[Self], class: Digest, put: Timestamp, at: Timestamp) -> Digest {
        // What a class that is named now means, where that is another class; and what the record
        // that was put has come to.
        let mut means: BTreeMap<Digest, Digest> = BTreeMap::new();
        let mut governs = None;
        for succession in all.iter().filter(|succession| succession.at <= at) {
            if succession.at > put && governs.is_none() {
                governs = Some(means.get(&class).copied().unwrap_or(class));
            }
            let Some(by) = succession.by else {
                means.remove(&succession.class);
                continue;
            };
            let moved = |digest: &mut Digest| {
                if *digest == succession.class {
                    *digest = by;
                }
            };
            means.values_mut().for_each(moved);
            means.insert(succession.class, by);
            governs.iter_mut().for_each(moved);
        }
        governs.unwrap_or_else(|| means.get(&class).copied().unwrap_or(class))
    }
}

/// Where data came from, as far as a law asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// From the person.
    Direct,
    /// Received from the European Economic Area (Israeli regulations 5783-2023).
    Eea,
    /// From the petitioner or another third party.
    ThirdParty,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class() -> PolicyClass {
        PolicyClass {
            purposes: BTreeMap::from([
                (Purpose::Marketing, LawfulBasis::LegitimateInterests),
                (Purpose::Representation, LawfulBasis::Contract),
            ]),
            ground: None,
            origin: Origin::Direct,
            retention: Label::fixed("CASE.FILE"),
            sharing: BTreeSet::new(),
            objections: BTreeSet::from([Purpose::Marketing, Purpose::Retention]),
        }
    }

    #[test]
    fn a_class_without_sharing_and_objections_keeps_the_identity_it_had_before_there_were_any() {
        let old = r#"{"purposes":{"representation":"contract"},"ground":null,"origin":"direct","retention":"CASE.FILE"}"#;
        let read: PolicyClass = serde_json::from_str(old).unwrap();
        assert_eq!(read.id(), Digest::of(old.as_bytes()));
        let mut other = read.clone();
        other.sharing.insert(Label::fixed("translator"));
        assert_ne!(other.id(), read.id());
        let text = serde_json::to_string(&other).unwrap();
        assert_eq!(serde_json::from_str::<PolicyClass>(&text).unwrap(), other);
    }

    #[test]
    fn a_purpose_is_admitted_that_the_class_has_and_nobody_objected_to_or_that_the_law_gives() {
        let class = class();
        assert_eq!(class.admits(Purpose::Representation), Ok(()));
        assert_eq!(class.admits(Purpose::Filing), Err(Code::PrcPurpose));
        assert_eq!(class.admits(Purpose::Marketing), Err(Code::PrcRestricted));
        assert_eq!(class.admits(Purpose::Retention), Ok(()));
        let admitted: Vec<_> = class.admitted().collect();
        assert_eq!(admitted, [Purpose::Representation]);
    }

    #[test]
    fn what_governed_when_is_read_from_the_successions() {
        let [a, b, c] = [b"a", b"b", b"c"].map(|name| Digest::of(name));
        let at = |second| Timestamp::from_timestamp(second, 0).unwrap();
        let all: Vec<_> = [
            (a, Some(b), 10),
            (a, None, 20),
            (b, Some(c), 30),
            (a, Some(c), 40),
            (c, None, 45),
        ]
        .map(|(class, by, second)| Succession {
            class,
            by,
            at: at(second),
        })
        .into();
        for (class, put, when, governs) in [
            (a, 0, 9, a),
            (a, 0, 10, b),
            (a, 0, 29, b),
            (a, 0, 30, c),
            (a, 15, 15, b),
            (a, 15, 35, c),
            (a, 20, 39, a),
            (a, 20, 40, c),
            (b, 0, 29, b),
            (b, 50, 50, c),
            (c, 50, 50, c),
        ] {
            let found = Succession::governing(&all, class, at(put), at(when));
            assert_eq!(found, governs, "put at {put}, asked for {when}");
        }
    }
}
