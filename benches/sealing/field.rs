//! A field and a record, whole envelopes against the bare cipher.

use std::hint::black_box;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use kta_core::crypto::aead::Provider;
use kta_core::crypto::{RecordHeader, together};
use kta_core::time::Entropy as _;
use kta_keys::OsEntropy;

use crate::figures::{Figures, Race, sized};
use crate::{by_build, place, subject_key};

/// Each provider of the cipher in turn; the one that works unless another is chosen goes last.
pub(crate) fn measure(figures: &mut Figures) {
    for provider in Provider::ALL {
        provider.choose();
        by(*provider, figures);
    }
    Provider::default().choose();
}

/// The field: 32 bytes, sealed with fresh randomness from the operating system, associated data,
/// padding, commitment and its own allocation, against one call of the fastest GCM-SIV there is,
/// key schedule kept, in place, with the same associated data.
///
/// The record: ten fields of 100 bytes with its header, each sealed alone and all together, against
/// one call of the same provider on the same 1,000 bytes.
fn by(provider: Provider, figures: &mut Figures) {
    let key = subject_key().record_key(place("").record);
    let value = [b'x'; 32];
    let associated = place("passport_number").to_bytes();
    let fast = LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, &[7; 32]).unwrap());
    let mut number = 0_u64;
    let mut nonce = move || {
        number += 1;
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&number.to_be_bytes());
        nonce
    };
    let names: Vec<_> = (0..10).map(|number| format!("field_{number}")).collect();
    let values = [b'x'; 100];

    let mut field = || {
        let sealed = key.seal(&place("passport_number"), black_box(&value), &OsEntropy);
        black_box(sealed.unwrap());
    };
    let mut bare_field = || {
        let mut buffer = value;
        let nonce = Nonce::assume_unique_for_key(nonce());
        let aad = Aad::from(&associated);
        let tag = fast.seal_in_place_separate_tag(nonce, aad, black_box(&mut buffer));
        let _ = black_box((buffer, tag.unwrap()));
    };
    let mut record = || {
        let places: Vec<_> = names
            .iter()
            .map(|name| (place(name), &values[..]))
            .collect();
        let sealed = key.seal_all(&places, &OsEntropy).unwrap();
        let fields = names.iter().zip(&sealed);
        let listed = fields.map(|(name, envelope)| (name.as_str(), 1, 0, envelope));
        black_box(RecordHeader::seal(&key, 1, listed).unwrap());
        black_box(sealed);
    };
    let group = names.join("+");
    let mut grouped = || {
        let value = together::joined(&[&values[..]; 10]);
        let sealed = key.seal(&place(&group), &value, &OsEntropy).unwrap();
        let listed = [(group.as_str(), 1, 0, &sealed)];
        black_box(RecordHeader::seal(&key, 1, listed).unwrap());
        black_box(sealed);
    };
    let kilobyte = [b'x'; 1000];
    let bare = provider.cipher().keyed(&[7; 32]);
    let mut bare_record = || {
        let mut buffer = kilobyte;
        let tag = bare.seal_in_place(&[9; 12], &associated, &mut buffer);
        black_box((buffer, tag.unwrap()));
    };
    // What no envelope can do without: the cipher over the padded value, and a nonce drawn for it.
    let mut padded = || {
        let mut buffer = [b'x'; 48];
        let tag = bare.seal_in_place(&[9; 12], &associated, black_box(&mut buffer));
        black_box((buffer, tag.unwrap()));
    };
    let mut draw = || {
        let mut nonce = [0; 12];
        OsEntropy.fill_public(&mut nonce);
        black_box(nonce);
    };
    let mut ten = || {
        for _ in 0..10 {
            let mut buffer = [b'x'; 160];
            let tag = bare.seal_in_place(&[9; 12], &associated, black_box(&mut buffer));
            black_box((buffer, tag.unwrap()));
        }
    };
    let race = Race::run(
        sized(61, 21),
        [
            &mut field,
            &mut bare_field,
            &mut record,
            &mut bare_record,
            &mut padded,
            &mut draw,
            &mut ten,
            &mut grouped,
        ],
    );
    figures.at_most(
        &format!(
            "{provider}: 32-byte field, whole envelope ÷ one bare aws-lc-rs AES-256-GCM-SIV seal"
        ),
        race.ratio(0, 1),
        "times",
        by_build(4.5, 3.0),
    );
    figures.at_most(
        &format!(
            "{provider}: record of ten fields, each sealed alone, with its header, 1 KB ÷ the same bytes in one bare call"
        ),
        race.ratio(2, 3),
        "times",
        by_build(6.0, 4.0),
    );
    figures.at_most(
        &format!(
            "{provider}: the same, the ten fields sealed together ÷ the same bytes in one bare call"
        ),
        race.ratio(7, 3),
        "times",
        by_build(6.0, 4.0),
    );
    figures.remark(format!(
        "{provider}: field {:.0} ns, bare {:.0} ns; record {:.0} ns, together {:.0} ns, bare {:.0} ns",
        race.seconds(0) * 1e9,
        race.seconds(1) * 1e9,
        race.seconds(2) * 1e9,
        race.seconds(7) * 1e9,
        race.seconds(3) * 1e9,
    ));
    figures.remark(format!(
        "{provider}: what no envelope can do without, as the two claims count: the cipher over 48 padded bytes {:.1} and a nonce from the operating system {:.1}; ten calls of the cipher over 160 padded bytes {:.1}",
        race.ratio(4, 1),
        race.ratio(5, 1),
        race.ratio(6, 3),
    ));
}
