//! Check digits and ranges of numbers that have no type in `kta_core::pii::identifier`.

use sha2::{Digest as _, Sha256};

/// Payment cards: the Luhn sum, and a length that the issuer of the first digits uses.
pub(crate) fn is_card(digits: &[u8]) -> bool {
    let head = |length: usize| number(&digits[..length.min(digits.len())]);
    let issued = match digits.len() {
        13 => head(1) == 4,
        14 => matches!(head(3), 300..=305 | 309) || matches!(head(2), 36 | 38 | 39),
        15 => matches!(head(2), 34 | 37),
        16 => {
            head(1) == 4
                || matches!(head(2), 51..=55 | 65 | 62)
                || matches!(head(4), 2221..=2720 | 6011 | 3528..=3589)
                || matches!(head(3), 644..=649)
                || matches!(head(2), 36 | 38 | 60)
        }
        19 => head(1) == 4 || head(2) == 62,
        _ => false,
    };
    issued && luhn(digits)
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let value = u32::from(digit - b'0') * if place % 2 == 1 { 2 } else { 1 };
            value / 10 + value % 10
        })
        .sum();
    sum.is_multiple_of(10)
}

/// ISO 13616: the length of the country, and modulo 97.
pub(crate) fn is_iban(text: &[u8]) -> bool {
    if text.len() < 5 || iban_length(&text[..2]) != Some(text.len()) {
        return false;
    }
    let mut rest = 0u32;
    for byte in text[4..].iter().chain(&text[..4]) {
        rest = match byte {
            b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
            b'A'..=b'Z' => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
            _ => return false,
        };
    }
    rest == 1
}

/// How long an IBAN of this country is.
pub(crate) fn iban_length(country: &[u8]) -> Option<usize> {
    IBAN_LENGTHS
        .iter()
        .find(|(code, _)| code.as_bytes() == country)
        .map(|(_, length)| *length)
}

/// ABA routing number: 3-7-1, and a first pair that the Federal Reserve gives out.
pub(crate) fn is_routing(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .zip([3, 7, 1].iter().cycle())
        .map(|(digit, weight)| u32::from(digit - b'0') * weight)
        .sum();
    digits.len() == 9
        && sum.is_multiple_of(10)
        && matches!(number(&digits[..2]), 1..=12 | 21..=32 | 61..=72 | 80)
}

/// NHS number: ten digits, weights 10 to 2, modulo 11.
pub(crate) fn is_nhs(digits: &[u8]) -> bool {
    if digits.len() != 10 {
        return false;
    }
    let sum: u32 = digits[..9]
        .iter()
        .zip((2..=10).rev())
        .map(|(digit, weight)| u32::from(digit - b'0') * weight)
        .sum();
    let check = (11 - sum % 11) % 11;
    check < 10 && check == u32::from(digits[9] - b'0')
}

/// National insurance number: two letters that are given out, six digits, A to D.
pub(crate) fn is_nino(text: &[u8]) -> bool {
    let &[first, second, ref digits @ .., last] = text else {
        return false;
    };
    text.len() == 9
        && first.is_ascii_uppercase()
        && second.is_ascii_uppercase()
        && !b"DFIQUV".contains(&first)
        && !b"DFIQUVO".contains(&second)
        && ![*b"BG", *b"GB", *b"KN", *b"NK", *b"NT", *b"TN", *b"ZZ"].contains(&[first, second])
        && digits.iter().all(u8::is_ascii_digit)
        && (b'A'..=b'D').contains(&last)
}

/// Bitcoin address: base58 of 21 bytes and the first four of their double SHA-256.
pub(crate) fn is_base58check(text: &[u8]) -> bool {
    if !(26..=35).contains(&text.len()) {
        return false;
    }
    let mut bytes = [0u8; 25];
    for symbol in text {
        let Some(value) = BASE58.iter().position(|known| known == symbol) else {
            return false;
        };
        let mut carry = value as u32;
        for byte in bytes.iter_mut().rev() {
            carry += u32::from(*byte) * 58;
            *byte = (carry & 0xFF) as u8;
            carry >>= 8;
        }
        if carry != 0 {
            return false;
        }
    }
    matches!(bytes[0], 0 | 5) && Sha256::digest(Sha256::digest(&bytes[..21]))[..4] == bytes[21..]
}

/// GitHub tokens end in six base-62 digits of the CRC-32 of the thirty before.
pub(crate) fn is_github(random: &[u8], check: &[u8]) -> bool {
    let mut value: u64 = 0;
    for symbol in check {
        let digit = match symbol {
            b'0'..=b'9' => symbol - b'0',
            b'A'..=b'Z' => symbol - b'A' + 10,
            b'a'..=b'z' => symbol - b'a' + 36,
            _ => return false,
        };
        value = value * 62 + u64::from(digit);
    }
    value == u64::from(crc32(random))
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

pub(crate) fn number(digits: &[u8]) -> u32 {
    digits.iter().fold(0u32, |sum, digit| {
        sum.wrapping_mul(10)
            .wrapping_add(u32::from(digit.wrapping_sub(b'0')))
    })
}

const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// From the registry of ISO 13616.
const IBAN_LENGTHS: [(&str, usize); 76] = [
    ("AD", 24),
    ("AE", 23),
    ("AL", 28),
    ("AT", 20),
    ("AZ", 28),
    ("BA", 20),
    ("BE", 16),
    ("BG", 22),
    ("BH", 22),
    ("BR", 29),
    ("BY", 28),
    ("CH", 21),
    ("CR", 22),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DK", 18),
    ("DO", 28),
    ("EE", 20),
    ("EG", 29),
    ("ES", 24),
    ("FI", 18),
    ("FO", 18),
    ("FR", 27),
    ("GB", 22),
    ("GE", 22),
    ("GI", 23),
    ("GL", 18),
    ("GR", 27),
    ("GT", 28),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IQ", 23),
    ("IS", 26),
    ("IT", 27),
    ("JO", 30),
    ("KW", 30),
    ("KZ", 20),
    ("LB", 28),
    ("LC", 32),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("LY", 25),
    ("MC", 27),
    ("MD", 24),
    ("ME", 22),
    ("MK", 19),
    ("MR", 27),
    ("MT", 31),
    ("MU", 30),
    ("NL", 18),
    ("NO", 15),
    ("PK", 24),
    ("PL", 28),
    ("PS", 29),
    ("PT", 25),
    ("QA", 29),
    ("RO", 24),
    ("RS", 22),
    ("SA", 24),
    ("SC", 31),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("SM", 27),
    ("TN", 24),
    ("TR", 26),
    ("UA", 29),
    ("VA", 22),
    ("VG", 24),
    ("XK", 20),
    ("SD", 18),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_examples_pass_and_an_altered_digit_fails() {
        assert!(is_card(b"4111111111111111") && !is_card(b"4111111111111112"));
        assert!(is_card(b"378282246310005") && is_card(b"30569309025904"));
        assert!(is_iban(b"GB82WEST12345698765432") && !is_iban(b"GB82WEST12345698765433"));
        assert!(is_routing(b"021000021") && !is_routing(b"021000022"));
        assert!(is_nhs(b"9434765919") && !is_nhs(b"9434765918"));
        assert!(is_nino(b"AB123456C") && !is_nino(b"BG123456C") && !is_nino(b"AB123456E"));
        assert!(is_base58check(b"1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"));
        assert!(!is_base58check(b"1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3"));
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }
}
