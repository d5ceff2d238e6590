//! Large content in segments, against one call of the same cipher.

use std::hint::black_box;

use bytes::Bytes;
use futures_util::StreamExt as _;
use kta_core::crypto::aead::Provider;
use kta_core::crypto::segments;
use kta_keys::OsEntropy;

use crate::figures::{Figures, Race, sized};
use crate::{place, subject_key};

/// The stream takes its chunks from one buffer, as from a file in the page cache, and lets each
/// sealed chunk go, so that memory stays what two segments need. The one call seals 16 MiB where
/// they stand; its rate is what counts, not its length.
pub(crate) fn measure(figures: &mut Figures) {
    let total = sized(1 << 30, 1 << 27);
    let key = subject_key().record_key(place("").record);
    let chunk = Bytes::from(vec![b'x'; 1 << 20]);
    let runtime = crate::runtime();
    let mut stream = || {
        let source = futures_util::stream::iter((0..total >> 20).map(|_| Ok(chunk.clone())));
        let mut sealed = segments::seal(&key, &place("content"), source, &OsEntropy).unwrap();
        let stored = runtime.block_on(async {
            let mut stored = 0_u64;
            while let Some(part) = sealed.next().await {
                stored += black_box(part.unwrap()).len() as u64;
            }
            stored
        });
        assert_eq!(stored, segments::stored_length(total));
    };
    let mut buffer = vec![b'x'; 1 << 24];
    let provider = Provider::current();
    let mut call = || {
        let tag =
            provider
                .cipher()
                .keyed(&[7; 32])
                .seal_in_place(&[9; 12], &[], black_box(&mut buffer));
        black_box(tag.unwrap());
    };
    let race = Race::run(sized(9, 5), [&mut stream, &mut call]);
    let rate = total as f64 / race.seconds(0);
    let relative = race.ratio(1, 0) * total as f64 / (1 << 24) as f64;
    let gib = total as f64 / f64::from(1 << 30);
    let claim = format!("{gib} GiB stream in 64 KiB segments ÷ the rate of one call");
    figures.at_least(&claim, relative, "times", 0.9);
    figures.remark(format!("stream {:.2} GB/s on one core", rate / 1e9));
}
