//! Values sealed anew under the person's present key, while its key is being rotated.
//!
//! Pure functions: they open with the generation that the bytes name and seal with the present
//! one. Whoever keeps the records calls them batch by batch, writes what they answer under the
//! revision it read, and counts what is left. Large content needs no function of its own, as the
//! two directions are streams:
//!
//! ```
//! # use kta_core::crypto::{RecordKey, SealContext, segments};
//! # use kta_core::time::Entropy;
//! # use bytes::Bytes;
//! # use futures_core::Stream;
//! fn reseal_content<'a>(
//!     key: &'a RecordKey,
//!     place: SealContext<'a>,
//!     stored: impl Stream<Item = kta_core::Result<Bytes>> + Unpin + 'a,
//!     entropy: &dyn Entropy,
//! ) -> kta_core::Result<impl Stream<Item = kta_core::Result<Bytes>> + 'a> {
//!     segments::seal(key, &place, segments::open(key, place, stored)?, entropy)
//! }
//! ```

use super::context::SealContext;
use super::envelope::Envelope;
use super::header::RecordHeader;
use super::keys::RecordKey;
use crate::error::Result;
use crate::time::Entropy;

/// A record sealed anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resealed {
    /// Its header.
    pub header: RecordHeader,
    /// Its fields, in the order in which they were given.
    pub fields: Vec<Envelope>,
}

impl RecordKey {
    /// Seals one value anew at its place; `None` when the present key sealed it.
    ///
    /// # Errors
    /// As [`open`](Self::open) and [`seal`](Self::seal).
    pub fn reseal(
        &self,
        context: &SealContext<'_>,
        sealed: &Envelope,
        entropy: &dyn Entropy,
    ) -> Result<Option<Envelope>> {
        if sealed.generation() == self.generation() {
            self.admits(context)?;
            return Ok(None);
        }
        let value = self.open(context, sealed)?;
        self.seal(context, &value, entropy).map(Some)
    }

    /// Seals a whole record anew: its fields at their revisions, and the header over them.
    /// `None` when the present key sealed all of it. The record's revision stays, as nothing of
    /// what it says changed.
    ///
    /// `fields` are names, revisions, [codes](crate::pii::Classification::code) of classifications
    /// and sealed values. `place` says where the record is; its field and revision are not looked at.
    ///
    /// # Errors
    /// As [`RecordHeader::check`], so that a record from which a field is missing is not given a
    /// header that says otherwise; as [`reseal`](Self::reseal).
    pub fn reseal_record(
        &self,
        place: &SealContext<'_>,
        revision: u64,
        header: &RecordHeader,
        fields: &[(&str, u64, u16, Envelope)],
        entropy: &dyn Entropy,
    ) -> Result<Option<Resealed>> {
        let listed = fields.iter();
        let listed = listed.map(|(name, at, class, sealed)| (*name, *at, *class, sealed));
        header.check(self, revision, listed)?;
        let mut fresh = Vec::with_capacity(fields.len());
        let mut changed = header.generation() != Some(self.generation());
        for (field, at, _, sealed) in fields {
            let context = SealContext {
                field,
                revision: *at,
                ..*place
            };
            let resealed = self.reseal(&context, sealed, entropy)?;
            changed |= resealed.is_some();
            fresh.push(resealed.unwrap_or_else(|| sealed.clone()));
        }
        if !changed {
            return Ok(None);
        }
        let listed = fields.iter().zip(&fresh);
        let listed = listed.map(|((name, at, class, _), sealed)| (*name, *at, *class, sealed));
        Ok(Some(Resealed {
            header: RecordHeader::seal(self, revision, listed)?,
            fields: fresh,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::context::tests::place;
    use crate::crypto::testing::Counted;
    use crate::crypto::{SecretKey, SubjectKey};
    use crate::refusal::Code;

    fn person(generation: u32) -> SubjectKey {
        let secret = SecretKey::from_bytes([generation as u8; 32]);
        SubjectKey::new(place().tenant, place().subject, generation, &secret)
    }

    fn keys() -> (RecordKey, RecordKey, RecordKey) {
        let record = place().record;
        let between = person(2).beside(person(1));
        (
            person(1).record_key(record),
            between.record_key(record),
            person(2).record_key(record),
        )
    }

    #[test]
    fn a_value_moves_to_the_present_key_and_is_readable_on_the_way() {
        let (old, between, new) = keys();
        let entropy = Counted::new(1);
        let sealed = old.seal(&place(), b"Testa", &entropy).unwrap();
        assert_eq!(**between.open(&place(), &sealed).unwrap(), *b"Testa");
        let fresh = between
            .reseal(&place(), &sealed, &entropy)
            .unwrap()
            .unwrap();
        assert_eq!((sealed.generation(), fresh.generation()), (1, 2));
        for key in [&between, &new] {
            assert_eq!(**key.open(&place(), &fresh).unwrap(), *b"Testa");
        }
        assert_eq!(old.open(&place(), &fresh), Err(Code::CryKey.into()));
        assert_eq!(new.open(&place(), &sealed), Err(Code::CryKey.into()));
        assert_eq!(between.reseal(&place(), &fresh, &entropy), Ok(None));
        assert_eq!(
            between.seal(&place(), b"x", &entropy).unwrap().generation(),
            2
        );
    }

    #[test]
    fn a_value_is_sealed_anew_at_its_own_place_only() {
        let (old, between, _) = keys();
        let entropy = Counted::new(2);
        let sealed = old.seal(&place(), b"Testa", &entropy).unwrap();
        for other in crate::crypto::context::tests::other_places() {
            let outcome = between.reseal(&other, &sealed, &entropy);
            assert_eq!(outcome, Err(Code::CrySwap.into()), "{other:?}");
        }
    }

    #[test]
    fn a_record_moves_whole_or_not_at_all() {
        let (old, between, new) = keys();
        let entropy = Counted::new(3);
        let seal = |key: &RecordKey, field, revision| {
            let context = SealContext {
                field,
                revision,
                ..place()
            };
            key.seal(&context, b"Testa", &entropy).unwrap()
        };
        let fields = [
            ("name", 1, 7, seal(&old, "name", 1)),
            ("born", 3, 9, seal(&old, "born", 3)),
        ];
        let list = |fields: &[(&'static str, u64, u16, Envelope)], key: &RecordKey| {
            let listed = fields.iter();
            let listed = listed.map(|(name, at, class, sealed)| (*name, *at, *class, sealed));
            RecordHeader::seal(key, 7, listed).unwrap()
        };
        let header = list(&fields, &old);
        let missing = between.reseal_record(&place(), 7, &header, &fields[..1], &entropy);
        assert_eq!(missing, Err(Code::CrySwap.into()));

        let moved = between.reseal_record(&place(), 7, &header, &fields, &entropy);
        let moved = moved.unwrap().unwrap();
        let [name, born] = &moved.fields[..] else {
            panic!("two fields went in")
        };
        let listed = [("name", 1, 7, name), ("born", 3, 9, born)];
        for key in [&between, &new] {
            assert_eq!(moved.header.check(key, 7, listed), Ok(()));
        }
        // A field of the generation before, put back beside the header of the present one.
        let back = [("name", 1, 7, &fields[0].3), ("born", 3, 9, born)];
        assert_eq!(
            moved.header.check(&between, 7, back),
            Err(Code::CrySwap.into())
        );

        // A writer amended one field after the rotation began: the rest follows.
        let mixed = [("name", 1, 7, name.clone()), fields[1].clone()];
        let header = list(&mixed, &between);
        let moved = between.reseal_record(&place(), 7, &header, &mixed, &entropy);
        let moved = moved.unwrap().unwrap();
        assert_eq!(moved.fields[0], *name);
        assert_eq!(moved.fields[1].generation(), 2);
        let done = [
            ("name", 1, 7, moved.fields[0].clone()),
            ("born", 3, 9, moved.fields[1].clone()),
        ];
        let again = between.reseal_record(&place(), 7, &moved.header, &done, &entropy);
        assert_eq!(again, Ok(None));
    }

    #[tokio::test]
    async fn content_moves_as_a_stream() {
        use crate::crypto::segments;
        use bytes::Bytes;
        use futures_util::{TryStreamExt as _, stream};
        let (old, between, new) = keys();
        let entropy = Counted::new(4);
        let whole = vec![0x5A; 200_000];
        let once = |bytes: Vec<u8>| stream::iter([Ok(Bytes::from(bytes))]);
        let sealed = segments::seal(&old, &place(), once(whole.clone()), &entropy).unwrap();
        let sealed: Vec<Bytes> = sealed.try_collect().await.unwrap();
        let open = segments::open(&between, place(), once(sealed.concat())).unwrap();
        let fresh = segments::seal(&between, &place(), open, &entropy).unwrap();
        let fresh: Vec<Bytes> = fresh.try_collect().await.unwrap();
        let opened = segments::open(&new, place(), once(fresh.concat())).unwrap();
        let opened: Vec<Bytes> = opened.try_collect().await.unwrap();
        assert_eq!(opened.concat(), whole);
    }
}
