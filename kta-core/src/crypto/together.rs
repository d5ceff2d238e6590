//! Several values in one: what is sealed when fields of a record are sealed together.
//!
//! Each value stands behind its length in bytes, written as LEB128: seven bits a byte, the lowest
//! first, the highest bit set but in the last byte, in the shortest form. How many there are, and
//! which, is not written: that is the place at which they are sealed.

use zeroize::Zeroizing;

use crate::error::Result;
use crate::refusal::Code;

/// The values as one.
#[must_use]
pub fn joined(values: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    // As long as it gets: bytes that outgrow their place would leave a copy behind.
    let length = values.iter().map(|value| value.len() + LONGEST);
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.sum()));
    for value in values {
        let mut length = value.len();
        while length >= 0x80 {
            bytes.push(length as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend_from_slice(value);
    }
    bytes
}

/// The values that were [joined], `many` of them.
///
/// # Errors
/// [`Code::CrySwap`] for bytes that are not as many values, each written in the one way.
pub fn parted(mut bytes: &[u8], many: usize) -> Result<Vec<&[u8]>> {
    let mut values = Vec::with_capacity(many);
    for _ in 0..many {
        let length = read_length(&mut bytes).ok_or(Code::CrySwap)?;
        let (value, rest) = bytes.split_at_checked(length).ok_or(Code::CrySwap)?;
        values.push(value);
        bytes = rest;
    }
    if bytes.is_empty() {
        Ok(values)
    } else {
        Err(Code::CrySwap.into())
    }
}

fn read_length(bytes: &mut &[u8]) -> Option<usize> {
    let mut length = 0_usize;
    for shift in (0..7 * LONGEST as u32).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = usize::from(byte & 0x7F);
        length |= bits.checked_mul(1_usize.checked_shl(shift)?)?;
        if byte & 0x80 == 0 {
            let shortest = bits > 0 || shift == 0;
            return shortest.then_some(length);
        }
    }
    None
}

/// The most bytes that a length takes.
const LONGEST: usize = usize::BITS.div_ceil(7) as usize;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_joined_is_parted(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..12)) {
            let slices: Vec<_> = values.iter().map(Vec::as_slice).collect();
            let bytes = joined(&slices);
            prop_assert_eq!(parted(&bytes, values.len()).unwrap(), slices);
            prop_assert!(parted(&bytes, values.len() + 1).is_err());
            prop_assert!(values.is_empty() || parted(&bytes, values.len() - 1).is_err());
        }

        #[test]
        fn bytes_part_in_one_way_or_not_at_all(bytes in prop::collection::vec(any::<u8>(), 0..64), many in 0_usize..8) {
            if let Ok(values) = parted(&bytes, many) {
                prop_assert_eq!(&*joined(&values), &bytes);
            }
        }
    }

    #[test]
    fn a_long_length_is_refused_and_overruns_nothing() {
        let mut longest = vec![0xFF; LONGEST - 1];
        longest.push(0x01);
        for bytes in [&longest[..], &[0x80, 0x00], &[0xFF; 20], &[0x80], &[2, 7]] {
            assert!(parted(bytes, 1).is_err(), "{bytes:?}");
        }
        assert_eq!(parted(&[0], 1).unwrap(), [b""]);
    }

    #[test]
    fn nothing_outgrows_its_place() {
        let value = [7; 129];
        let bytes = joined(&[&value, &[]]);
        assert_eq!(bytes.len(), 2 + 129 + 1);
        assert!(bytes.capacity() >= 129 + 2 * LONGEST);
    }
}
