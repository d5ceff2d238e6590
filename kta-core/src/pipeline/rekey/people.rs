//! One person's records and contents: sealed anew, and counted before a former key ends.

use std::collections::BTreeMap;

use futures_util::TryStreamExt as _;

use super::{Work, is_erased};
use crate::audit::{Label, Outcome};
use crate::crypto::hierarchy::SubjectRotation;
use crate::crypto::{
    Envelope, EraseClaim, GenerationEnded, IndexKey, KeyHolder, RecordHeader, SubjectKey,
};
use crate::error::{Error, FaultKind, Result};
use crate::id::{DocumentId, RecordId, SubjectId};
use crate::pii::placement::CopyOf;
use crate::pii::{ContentStream, Placement, PlacementState, Record, Schema};
use crate::pipeline::receive;
use crate::policy::{Act, ContentPlace};
use crate::ports::BlobId;
use crate::ports::kms::{KekDestroyed, KekDestruction, KekId};
use crate::ports::store::{Change, Expected, PlacementQuery, RecordBy, RecordQuery};
use crate::refusal::{Code, Refusal};
use crate::time::Timestamp;

impl Work<'_> {
    /// Seals anew what a person has. The first time every record, for the sake of the index;
    /// later only what is under a former key.
    pub(super) async fn seal_person(&mut self, holder: &KeyHolder, index: &IndexKey) -> Result<()> {
        let first = self.filed.rekeying.again == 0;
        if !first && holder.rotation.is_none() {
            return Ok(());
        }
        let person = match self.house.sealer.keys().subject_key(holder.subject).await {
            Err(error) if is_erased(&error) => return Ok(()),
            outcome => outcome?,
        };
        let mut after = None;
        loop {
            let found = self.page(holder.subject, after).await?;
            for record in &found {
                if first || !is_of(record, person.generation()) {
                    self.seal_record(record, &person, index)?;
                }
                if self.is_much() {
                    // How far it is stays as it was: should this be all, the person is done again.
                    self.commit().await?;
                }
            }
            if found.len() < PAGE {
                break;
            }
            after = found.last().map(|record| record.key.record);
        }
        for (placement, document) in self.contents(holder.subject).await? {
            self.renew().await?;
            match self.seal_content(&placement, document, &person).await {
                Ok(sealed) => self.filed.rekeying.contents += u64::from(sealed),
                // Never written, or erased meanwhile.
                Err(error) if is_absent(&error) && !self.stands(&placement).await? => {}
                Err(error) => self.except(holder.subject, placement.of, error)?,
            }
        }
        Ok(())
    }

    fn seal_record(
        &mut self,
        record: &Record,
        person: &SubjectKey,
        index: &IndexKey,
    ) -> Result<()> {
        let sealed = schema(&record.schema).and_then(|schema| {
            let sealer = &self.house.sealer;
            sealer.reseal(record, person, index, &schema, &self.permit)
        });
        let (sealed, index) = match sealed {
            Ok(sealed) => sealed,
            Err(error) => {
                let of = CopyOf::Record(record.key.record);
                return self.except(record.key.subject, of, error);
            }
        };
        self.resealed.extend(record.key.record.as_bytes());
        for revision in [record.revision, sealed.revision] {
            self.resealed.extend(revision.to_be_bytes());
        }
        let fields = sealed.fields.values();
        self.bytes += fields
            .map(|field| field.sealed.as_bytes().len())
            .sum::<usize>();
        self.changes.push(Change::PutRecord {
            record: sealed,
            index,
            expected: Expected::Revision(record.revision),
        });
        self.filed.rekeying.records += 1;
        Ok(())
    }

    /// Seals a content anew, unless it is under the present key.
    async fn seal_content(
        &self,
        placement: &Placement,
        document: DocumentId,
        person: &SubjectKey,
    ) -> Result<bool> {
        let (blobs, id) = (&self.house.doors.blobs, placement.stored_blob()?);
        if self.generation(&id).await? == Some(person.generation()) {
            return Ok(false);
        }
        let place = ContentPlace {
            subject: placement.subject,
            matter: placement.matter,
            document,
            category: placement.category,
        };
        let stored = blobs.stream(&id, &self.permit).await?;
        let sealer = &self.house.sealer;
        let sealed = sealer.reseal_content(&place, person, stored, &self.permit)?;
        blobs.replace(&id, sealed, &self.permit).await?;
        Ok(true)
    }

    /// How much of what a person has is not under the present key, or does not tell.
    pub(super) async fn left(&mut self, rotation: &SubjectRotation) -> Result<u64> {
        let (mut left, mut after) = (0, None);
        loop {
            let found = self.page(rotation.subject, after).await?;
            let others = found
                .iter()
                .filter(|record| !is_of(record, rotation.generation));
            left += others.count() as u64;
            if found.len() < PAGE {
                break;
            }
            after = found.last().map(|record| record.key.record);
        }
        for (placement, _) in self.contents(rotation.subject).await? {
            self.renew().await?;
            match self.generation(&placement.stored_blob()?).await {
                Ok(generation) => left += u64::from(generation != Some(rotation.generation)),
                Err(error) if is_absent(&error) => {
                    left += u64::from(self.stands(&placement).await?);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(left)
    }

    async fn page(&mut self, subject: SubjectId, after: Option<RecordId>) -> Result<Vec<Record>> {
        self.renew().await?;
        let query =
            RecordQuery::all(self.house.tenant(), RecordBy::Subject(subject)).page(after, PAGE);
        self.house.doors.store.records(&query).await
    }

    /// The person's blobs that are there or may be.
    async fn contents(&self, subject: SubjectId) -> Result<Vec<(Placement, DocumentId)>> {
        let query = PlacementQuery::of(self.house.tenant(), subject);
        let placements = self.house.doors.store.placements(&query).await?.into_iter();
        let contents = placements.filter_map(|placement| match (placement.of, placement.state) {
            (CopyOf::Document(document), PlacementState::Present | PlacementState::Intended)
                if placement.system == Placement::BLOBS =>
            {
                Some((placement, document))
            }
            _ => None,
        });
        Ok(contents.collect())
    }

    /// Whether the placement is registered as present still.
    async fn stands(&self, placement: &Placement) -> Result<bool> {
        let contents = self.contents(placement.subject).await?;
        Ok(contents
            .iter()
            .any(|(now, _)| now.id == placement.id && matches!(now.state, PlacementState::Present)))
    }

    /// Which of the person's keys a blob names; `None` when it is too short to say.
    async fn generation(&self, id: &BlobId) -> Result<Option<u32>> {
        let mut stored: ContentStream = self.house.doors.blobs.stream(id, &self.permit).await?;
        let mut start = Vec::new();
        while start.len() < GENERATION.end {
            let Some(chunk) = stored.try_next().await? else {
                break;
            };
            start.extend(chunk.iter().take(GENERATION.end));
        }
        let named = start
            .get(GENERATION)
            .and_then(|bytes| bytes.try_into().ok());
        Ok(named.map(u32::from_be_bytes))
    }

    /// Puts the end of former keys on the log, one event for each key-encryption key, and keeps
    /// the least that may be claimed.
    pub(super) fn tell(&mut self, ended: &[GenerationEnded], since: Timestamp) {
        let mut turns: BTreeMap<KekId, (&KekDestroyed, usize, u32)> = BTreeMap::new();
        for ended in ended.iter().filter(|ended| ended.dropped.at >= since) {
            let first = (&ended.kek_destroyed, 0, 0);
            let turn = turns.entry(ended.dropped.kek.clone()).or_insert(first);
            turn.1 += 1;
            turn.2 = turn.2.max(ended.copies);
            let claim = &mut self.filed.rekeying.claim;
            *claim = Some(claim.map_or(ended.claim(), |claim| least(claim, ended.claim())));
        }
        for (kek, (destroyed, people, copies)) in turns {
            let copies = u64::from(copies) + u64::from(destroyed.copies);
            let event = self
                .permit
                .event(Act::Rekey, Outcome::Done)
                .with("kek", kek.as_label().clone())
                .with("ended", people)
                .with("copies", copies);
            self.events.push(match destroyed.method {
                KekDestruction::Immediate => event.with("method", "immediate"),
                KekDestruction::Scheduled { until } => {
                    event.with("method", "scheduled").with("until", until)
                }
            });
        }
    }
}

/// Whether all of a record is sealed under this generation of its person's key.
fn is_of(record: &Record, generation: u32) -> bool {
    let header = RecordHeader::from_bytes(record.header.clone()).generation();
    let mut fields = record.fields.values();
    header == Some(generation)
        && fields.all(|field| {
            Envelope::parse(field.sealed.as_bytes())
                .is_ok_and(|envelope| envelope.generation() == generation)
        })
}

fn least(one: EraseClaim, other: EraseClaim) -> EraseClaim {
    match (one, other) {
        (EraseClaim::Invalid, _) | (_, EraseClaim::Invalid) => EraseClaim::Invalid,
        (EraseClaim::EffectiveFrom(one), EraseClaim::EffectiveFrom(other)) => {
            EraseClaim::EffectiveFrom(one.max(other))
        }
        (EraseClaim::Effective, other) => other,
        (one, EraseClaim::Effective) => one,
    }
}

fn schema(name: &Label) -> Result<Schema> {
    if *name == receive::SCHEMA {
        // Its fields differ from message to message, and no index is kept of any.
        return Ok(Schema {
            name: receive::SCHEMA,
            fields: Vec::new(),
        });
    }
    let person = Some(Schema::person()).filter(|schema| schema.name == *name);
    person.ok_or_else(|| {
        Refusal::new(Code::SynUnmapped)
            .about("schema", name.clone())
            .into()
    })
}

fn is_absent(error: &Error) -> bool {
    error
        .fault()
        .is_some_and(|fault| fault.kind() == FaultKind::NotFound)
}

/// Where sealed bytes name their key, in values, headers and contents alike.
const GENERATION: core::ops::Range<usize> = 2..6;
/// Records that are read together: hardly anybody has more.
const PAGE: usize = 64;
