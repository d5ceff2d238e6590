//! Rotation: fresh keys for the epoch, the index and single people, while everybody works on.
//!
//! What costs time differs. A turn of the epoch re-wraps one level of the tree in one commit and
//! is over. A new index key, or a new key of a person, changes nothing that is written already:
//! entries and values move over to it one by one, for as long as that takes, and only then does
//! the older key end.
//!
//! ```text
//! epoch     rotate_past ─ one commit ─ done
//! index     rotate_index ─ write entries anew, record by record ─ retire_index
//! person    rotate_subjects ─ reseal values, record by record ─ finish_subjects
//! ```
//!
//! The root turns with the epoch, as each epoch has a key-encryption key of its own; what a
//! custodian keeps above that (the passphrase of a keyring, the master key of an HSM) is rotated
//! there, and nothing here notices.
//!
//! In between both keys work: entries of an older index epoch are looked up with
//! [`index_key_of`](Hierarchy::index_key_of), and a person's [`RecordKey`](crate::crypto::RecordKey)
//! opens each value with the generation that the value names. So readers and writers go on.
//!
//! Each step is one commit, and each may be repeated: a job that was killed anywhere begins again
//! where the records say it is, and says with each batch how far it came. Whoever keeps the
//! records counts what is left; [`finish_subjects`](Hierarchy::finish_subjects) and
//! [`retire_index`](Hierarchy::retire_index) rest on that count.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use super::super::index::IndexPlan;
use super::super::keys::SubjectKey;
use super::super::secret::SecretKey;
use super::super::shred::GenerationEnded;
use super::turn::{Dropped, earlier, standing};
use super::{Hierarchy, MARKS, corrupt, tree};
use crate::error::{Error, Fault, FaultKind, Port, Result};
use crate::id::SubjectId;
use crate::ports::key_table::{
    FormerKey, FormerState, KeyChange, KeyHead, KeyRows, SubjectRow, Wanted,
};
use crate::ports::kms::KekState;
use crate::refusal::{Code, Refusal};
use crate::time::Timestamp;

/// What a turn of the epoch did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turned {
    /// The epoch from now on.
    pub epoch: u64,
    /// Keys that were wrapped anew; 0 when the epoch had been turned before.
    pub rewrapped: usize,
}

/// A person's key on the way from one generation to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubjectRotation {
    /// The person.
    pub subject: SubjectId,
    /// The generation under which values are sealed.
    pub generation: u32,
    /// The one before it, which values are leaving.
    pub former: u32,
    /// When the newer one took its place.
    pub since: Timestamp,
}

impl Hierarchy {
    /// How long a person's key may be held by whoever was handed it out: a former key does not
    /// end sooner, so that no writer is left who still seals under it.
    pub const HELD: Duration = Duration::from_secs(60 * 60);

    /// Gives the tenant a new epoch and destroys the key-encryption key of the present one.
    ///
    /// # Errors
    /// Faults of the ports; calling again turns the epoch again, so that a job which may run
    /// twice calls [`rotate_past`](Self::rotate_past).
    pub async fn rotate(&self, now: Timestamp) -> Result<Turned> {
        let present = self.epoch().await?;
        self.rotate_past(present, now).await
    }

    /// Ends the epoch `present`, with its key-encryption key. When it has ended already, nothing
    /// but what a crash left owed is done.
    ///
    /// # Errors
    /// Faults of the ports; calling again finishes what was begun.
    pub async fn rotate_past(&self, present: u64, now: Timestamp) -> Result<Turned> {
        let turned = reread!(self, &[], |head, _rows| {
            if head.epoch.number > present {
                let epoch = head.epoch.number;
                return Ok(Turned {
                    epoch,
                    rewrapped: 0,
                });
            }
            self.turn(head, Dropped::default(), now).await
        })?;
        self.settle(now).await?;
        Ok(turned)
    }

    /// Gives the tenant a new index key beside the present ones and answers its index epoch.
    /// Entries written from now on are of that epoch; older ones are found with older keys. It is
    /// planned for as many rows as the present one, and for more when there were more people.
    ///
    /// # Errors
    /// Faults of the ports; calling again makes one more, so that a job which may run twice calls
    /// [`rotate_index_past`](Self::rotate_index_past).
    pub async fn rotate_index(&self) -> Result<u32> {
        let newest = self.index_epochs().await?.last().copied();
        self.rotate_index_past(newest.unwrap_or(MARKS)).await
    }

    /// Makes an index key newer than that of index epoch `newest`, unless there is one, and
    /// answers the newest index epoch.
    ///
    /// # Errors
    /// Faults of the ports; calling again finishes what was begun.
    pub async fn rotate_index_past(&self, newest: u32) -> Result<u32> {
        reread!(self, &[], |head, _rows| {
            let present = head.index.last().ok_or_else(|| corrupt("rotate"))?;
            if present.epoch > newest {
                return Ok(present.epoch);
            }
            let people = u64::from(head.next_slot).next_power_of_two();
            let rows = present.rows.max(people);
            self.add_index(head, rows).await
        })
    }

    /// Makes an index key that is planned for this many rows, unless the newest is, and answers
    /// the newest index epoch. Say it before a firm of millions, or of hundreds, moves in: of two
    /// to four rows that share an entry are read, where a plan for fewer lets as many more share
    /// it as there are more rows, and one for more lets equal entries tell equal values.
    ///
    /// # Errors
    /// `Misconfigured` for [fewer rows](crate::crypto::index::IndexRefused::FewRows) than want an
    /// index. Faults of the ports; calling again finishes what was begun.
    pub async fn plan_index(&self, rows: u64) -> Result<u32> {
        if IndexPlan::new("any", u64::MAX, rows).is_err() {
            let fault = Fault::new(FaultKind::Misconfigured, Port::KeyTable, "plan an index");
            return Err(fault.because("so few rows need no index").into());
        }
        reread!(self, &[], |head, _rows| {
            let newest = head.index.last().ok_or_else(|| corrupt("rotate"))?;
            if newest.rows == rows {
                return Ok(newest.epoch);
            }
            self.add_index(head, rows).await
        })
    }

    async fn add_index(&self, mut head: KeyHead, rows: u64) -> Result<u32> {
        let present = head.index.last().ok_or_else(|| corrupt("rotate"))?.epoch;
        let next = present.checked_add(1).ok_or_else(|| corrupt("rotate"))?;
        let above = self.epoch_key(&head.epoch).await?;
        let secret = SecretKey::random(&*self.entropy);
        let row = self.wrap_index(&above, (next, rows), &secret)?;
        head.index.push(row);
        self.table
            .commit(KeyChange::of(self.tenant, Some(head.revision), head))
            .await?;
        Ok(next)
    }

    /// The index epochs that have keys, oldest first: more than one while entries are written
    /// anew.
    ///
    /// # Errors
    /// Faults of the ports.
    pub async fn index_epochs(&self) -> Result<Vec<u32>> {
        let rows = self.head().await?.index.into_iter();
        Ok(rows
            .map(|row| row.epoch)
            .filter(|epoch| *epoch != MARKS)
            .collect())
    }

    /// Destroys an older index key, with a turn of the epoch so that no copy of the table keeps
    /// it. Do this when no entry of that index epoch is left. Nothing happens when it is
    /// destroyed already.
    ///
    /// # Errors
    /// [`Code::CryKey`] when there never was such a key, `Unsupported` for the newest. Faults of
    /// the ports; calling again finishes what was begun.
    pub async fn retire_index(&self, epoch: u32, now: Timestamp) -> Result<()> {
        reread!(self, &[], |head, _rows| {
            let newest = head.index.last().ok_or_else(|| corrupt("retire"))?.epoch;
            if epoch == MARKS || epoch > newest {
                return Err(Code::CryKey.into());
            }
            if epoch == newest {
                return Err(refused("retire", "the newest index key is in use"));
            }
            if head.index.iter().any(|row| row.epoch == epoch) {
                let index = Some(epoch);
                self.turn(
                    head,
                    Dropped {
                        index,
                        ..Dropped::default()
                    },
                    now,
                )
                .await?;
            }
            Ok(())
        })?;
        self.settle(now).await
    }

    /// Gives each of these people a fresh key, the next generation, in one commit. What was
    /// sealed before still opens: the former key stays until
    /// [`finish_subjects`](Self::finish_subjects). Somebody whose key is being rotated already
    /// is left as is, and answered like the others.
    ///
    /// After this, seal anew whatever the former key sealed
    /// ([`RecordKey::reseal_record`](crate::crypto::RecordKey::reseal_record) and its
    /// neighbours), record by record.
    ///
    /// # Errors
    /// [`Code::CryKey`] for a person without a key, [`Code::CryErased`] for one whose key was
    /// destroyed, both without effect. Faults of the ports.
    pub async fn rotate_subjects(
        &self,
        subjects: &[SubjectId],
        now: Timestamp,
    ) -> Result<Vec<SubjectRotation>> {
        let wanted: Vec<_> = subjects.iter().copied().map(Wanted::Subject).collect();
        reread!(self, &wanted, |head, rows| {
            present(subjects, &rows)?;
            let mut fresh = Vec::new();
            for row in rows.subjects.values().filter(|row| row.kept().is_none()) {
                let branch = self.branch_key(&head, &rows, row.slot).await?;
                // What is put aside must open; later would be too late to find out.
                tree::open_leaf(self.tenant, &branch, row)?;
                let secret = SecretKey::random(&*self.entropy);
                let generation = row.generation.checked_add(1);
                let generation = generation.ok_or_else(|| corrupt("rotate"))?;
                let key = SubjectKey::new(self.tenant, row.subject, generation, &secret);
                let next = SubjectRow {
                    generation,
                    key: key.fingerprint(),
                    // It stays where it stands, so it stays wrapped as it is.
                    former: Some(FormerKey {
                        generation: row.generation,
                        key: row.key,
                        since: now,
                        state: FormerState::Kept(row.wrapped.clone()),
                    }),
                    ..row.clone()
                };
                fresh.push(self.wrap_leaf(&branch, next, &secret)?);
            }
            if fresh.is_empty() {
                return Ok(());
            }
            let mut change = KeyChange::of(self.tenant, Some(head.revision), head);
            change.subjects = fresh;
            self.table.commit(change).await.map(|_| ())
        })?;
        let (_, rows) = self.rows(&wanted).await?;
        present(subjects, &rows)?;
        let found = subjects
            .iter()
            .filter_map(|subject| rotation(&rows, *subject));
        Ok(found.collect())
    }

    /// How far the rotation of a person's key is; `None` when none is under way.
    ///
    /// # Errors
    /// As [`rotate_subjects`](Self::rotate_subjects).
    pub async fn subject_rotation(&self, subject: SubjectId) -> Result<Option<SubjectRotation>> {
        let (_, rows) = self.rows(&[Wanted::Subject(subject)]).await?;
        present(&[subject], &rows)?;
        Ok(rotation(&rows, subject))
    }

    /// Destroys the former keys of these people and answers the evidence, in their order. They
    /// share one turn of the epoch, as in an erasure: finish many together. Finishing again
    /// answers the same evidence, until the person's key is rotated anew and for as long as the
    /// custodian remembers the key-encryption key that it destroyed: put it on the log at once.
    ///
    /// `left` is how many values sealed under those former keys the caller still counted, in
    /// all places where there are any: fields, headers, content, sealed openings of the audit
    /// log. Whatever was missed in counting is lost, and so is what a writer who held the
    /// former key for longer than [`HELD`](Self::HELD) seals afterwards.
    ///
    /// # Errors
    /// `Unsupported` when values are left, and before the former key is [`HELD`](Self::HELD) old;
    /// [`Code::CryKey`] for a person without a former key, [`Code::CryErased`] for one whose
    /// keys were destroyed; all without effect. Faults of the ports: then calling again finishes
    /// what was begun.
    pub async fn finish_subjects(
        &self,
        subjects: &[SubjectId],
        left: u64,
        now: Timestamp,
    ) -> Result<Vec<GenerationEnded>> {
        if left > 0 {
            return Err(refused("finish", "values of the former key are left"));
        }
        let wanted: Vec<_> = subjects.iter().copied().map(Wanted::Subject).collect();
        reread!(self, &wanted, |head, rows| {
            present(subjects, &rows)?;
            let mut formers = BTreeMap::new();
            for (subject, row) in rows.subjects {
                let former = row.former.as_ref();
                let former =
                    former.ok_or_else(|| Refusal::new(Code::CryKey).about("subject", subject))?;
                if row.kept().is_none() {
                    continue;
                }
                if now < former.since + Self::HELD {
                    return Err(refused(
                        "finish",
                        "the former key may still be held by a writer",
                    ));
                }
                formers.insert(subject, row);
            }
            if !formers.is_empty() {
                self.turn(
                    head,
                    Dropped {
                        formers,
                        ..Dropped::default()
                    },
                    now,
                )
                .await?;
            }
            Ok(())
        })?;
        self.settle(now).await?;
        self.ended(subjects, &wanted).await
    }

    async fn ended(
        &self,
        subjects: &[SubjectId],
        wanted: &[Wanted],
    ) -> Result<Vec<GenerationEnded>> {
        let (head, rows) = self.rows(wanted).await?;
        present(subjects, &rows)?;
        let copies = self.copies().await?;
        let mut answers = BTreeMap::new();
        let mut evidence = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let former = rows
                .subjects
                .get(subject)
                .and_then(|row| row.former.as_ref());
            let Some(FormerKey {
                generation,
                key,
                state: FormerState::Dropped(dropped),
                ..
            }) = former
            else {
                return Err(corrupt("finish"));
            };
            if !answers.contains_key(&dropped.kek) {
                let KekState::Destroyed(answer) = self.kms.state(&dropped.kek).await? else {
                    return Err(corrupt("finish"));
                };
                answers.insert(dropped.kek.clone(), answer);
            }
            evidence.push(GenerationEnded {
                tenant: self.tenant,
                subject: *subject,
                generation: *generation,
                key: *key,
                dropped: dropped.clone(),
                kek_destroyed: answers[&dropped.kek].clone(),
                earlier: earlier(&head, dropped.epoch_before),
                copies: standing(&copies, *subject, dropped.epoch_before),
            });
        }
        Ok(evidence)
    }
}

/// Refuses people who have no key, or none any more.
fn present(subjects: &[SubjectId], rows: &KeyRows) -> Result<()> {
    let mut asked = subjects.iter().collect::<BTreeSet<_>>().into_iter();
    let absent = asked.find(|subject| !rows.subjects.contains_key(subject));
    absent.map_or(Ok(()), |subject| {
        let erased = rows.erased.contains_key(subject);
        let code = if erased {
            Code::CryErased
        } else {
            Code::CryKey
        };
        Err(Refusal::new(code).about("subject", *subject).into())
    })
}

pub(super) fn rotation(rows: &KeyRows, subject: SubjectId) -> Option<SubjectRotation> {
    let row = rows.subjects.get(&subject)?;
    let (former, _) = row.kept()?;
    Some(SubjectRotation {
        subject,
        generation: row.generation,
        former: former.generation,
        since: former.since,
    })
}

fn refused(operation: &'static str, why: &'static str) -> Error {
    Fault::new(FaultKind::Unsupported, Port::KeyTable, operation)
        .because(why)
        .into()
}
