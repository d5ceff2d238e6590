//! A recovery key in shares: any `threshold` of them give it back, fewer tell nothing about it.
//!
//! A share is written as text, to be printed and kept on paper:
//!
//! ```text
//!  kta-share/1 041G-4001-… 22 groups of four
//!
//!  version 1 │ threshold 1 │ number 1 │ set 16 │ value 32 │ check 4      bytes
//!  set    the first bytes of SHA-256("kta-recovery/1 set" ‖ recovery key)
//!  check  the first bytes of SHA-256("kta-share/1 check" ‖ everything before)
//! ```
//!
//! in Crockford's base 32: no I, L, O or U; small letters are read as capitals, I and L as 1, O
//! as 0, spaces and hyphens not at all. The check finds a misread share by itself. The set finds
//! shares of different keys, and a share that somebody changed together with its check: the key
//! that comes out is hashed again. It is a hash of 256 random bits, so it helps nobody to guess.

mod shamir;

use core::fmt;
use core::str::FromStr;

use kta_core::audit::Label;
use kta_core::crypto::SecretKey;
use kta_core::id::Digest;
use kta_core::time::Entropy;
use kta_core::{Fault, FaultKind, Port, Result};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

/// One share of a recovery key. Its value is wiped when it is dropped, and never shown but by
/// [`text`](Self::text).
///
/// ```
/// use kta_core::crypto::SecretKey;
/// use kta_keys::{OsEntropy, Share};
/// use secrecy::ExposeSecret as _;
/// # fn main() -> kta_core::Result<()> {
/// let key = SecretKey::random(&OsEntropy);
/// let shares = Share::split(&key, 2, 3, &OsEntropy)?;
/// let paper = shares[2].text();
///
/// let shares = [Share::read(paper.expose_secret())?, Share::read(shares[0].text().expose_secret())?];
/// assert!(Share::combine(&shares)? == key);
/// # Ok(())
/// # }
/// ```
#[derive(PartialEq, Eq)]
pub struct Share {
    set: ShareSet,
    threshold: u8,
    number: u8,
    value: SecretKey,
}

/// Which recovery key a share belongs to: a hash of the key, no secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ShareSet([u8; SET]);

impl Share {
    /// Splits `key` into `shares`, numbered from 1, of which any `threshold` give it back.
    ///
    /// # Errors
    /// `Misconfigured` unless 2 ≤ `threshold` ≤ `shares`: with a threshold of one, each share is
    /// the key.
    pub fn split(
        key: &SecretKey,
        threshold: u8,
        shares: u8,
        entropy: &dyn Entropy,
    ) -> Result<Vec<Self>> {
        if threshold < 2 || threshold > shares {
            return Err(misconfigured("a threshold is from two to the number of shares").into());
        }
        let set = ShareSet::of(key);
        let values = shamir::split(key, threshold, shares, entropy);
        Ok((1..=shares)
            .zip(values)
            .map(|(number, value)| Self {
                set,
                threshold,
                number,
                value,
            })
            .collect())
    }

    /// The key that these shares give. More than the threshold may be given; all must fit.
    ///
    /// # Errors
    /// `Misconfigured` when there are too few, one was given twice, or they belong to different
    /// keys; `Corrupt` when one was changed.
    pub fn combine(shares: &[Self]) -> Result<SecretKey> {
        let first = shares.first().ok_or(misconfigured(TOO_FEW))?;
        let set = first.set;
        if shares.iter().any(|share| share.set != set) {
            return Err(misconfigured("the shares belong to different recovery keys").into());
        }
        let mut seen = [false; 256];
        for share in shares {
            if core::mem::replace(&mut seen[usize::from(share.number)], true) {
                return Err(misconfigured("one share was given twice").into());
            }
        }
        let changed = || fault(FaultKind::Corrupt).because("one of the shares was changed");
        if shares
            .iter()
            .any(|share| share.threshold != first.threshold)
        {
            return Err(changed().into());
        }
        if shares.len() < usize::from(first.threshold) {
            return Err(misconfigured(TOO_FEW).into());
        }
        let points: Vec<_> = shares
            .iter()
            .map(|share| (share.number, &share.value))
            .collect();
        let key = shamir::interpolate(&points);
        if ShareSet::of(&key) == set {
            Ok(key)
        } else {
            Err(changed().into())
        }
    }

    /// Reads a share's text.
    ///
    /// # Errors
    /// `Misconfigured` for a text that is none of this version, `Corrupt` for one that was
    /// misread or changed.
    pub fn read(text: &str) -> Result<Self> {
        let foreign = || misconfigured("not a share of this version");
        let digits = text
            .trim()
            .get(..PREFIX.len())
            .filter(|prefix| prefix.eq_ignore_ascii_case(PREFIX))
            .and_then(|_| text.trim().get(PREFIX.len()..))
            .filter(|digits| digits.len() <= LONGEST)
            .ok_or_else(foreign)?;
        let misread = || fault(FaultKind::Corrupt).because("a share was misread");
        let bytes = from_base_32(digits).ok_or_else(misread)?;
        let (said, check) = bytes.split_last_chunk::<CHECK>().ok_or_else(misread)?;
        if check_of(said) != *check {
            return Err(misread().into());
        }
        let [VERSION, threshold, number, rest @ ..] = said else {
            return Err(foreign().into());
        };
        let (set, value) = rest.split_first_chunk::<SET>().ok_or_else(foreign)?;
        if *threshold < 2 || *number == 0 {
            return Err(foreign().into());
        }
        Ok(Self {
            set: ShareSet(*set),
            threshold: *threshold,
            number: *number,
            value: SecretKey::from_slice(value).ok_or_else(foreign)?,
        })
    }

    /// The share as text, for paper: see the module's format. Whoever has `threshold` of them
    /// has the key.
    #[must_use]
    pub fn text(&self) -> SecretString {
        let mut bytes = Zeroizing::new(Vec::with_capacity(SHARE));
        bytes.extend_from_slice(&[VERSION, self.threshold, self.number]);
        bytes.extend_from_slice(&self.set.0);
        bytes.extend_from_slice(self.value.expose());
        let check = check_of(&bytes);
        bytes.extend_from_slice(&check);
        to_base_32(&bytes)
    }

    /// Which key it is a share of.
    #[must_use]
    pub const fn set(&self) -> ShareSet {
        self.set
    }

    /// Its number, from 1.
    #[must_use]
    pub const fn number(&self) -> u8 {
        self.number
    }

    /// How many shares give the key.
    #[must_use]
    pub const fn threshold(&self) -> u8 {
        self.threshold
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Share({} of {}, ..)", self.number, self.set)
    }
}

impl ShareSet {
    /// The set of all shares of this key.
    pub(crate) fn of(key: &SecretKey) -> Self {
        Self(hash(b"kta-recovery/1 set", key.expose()))
    }

    pub(crate) const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The set's name as a label, for the log.
    #[must_use]
    pub fn label(&self) -> Label {
        // Sixteen lower-case hexadecimal pairs always are a label.
        Label::new(self.to_string()).expect("a label")
    }
}

impl fmt::Display for ShareSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ShareSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<ShareSet> for String {
    fn from(set: ShareSet) -> Self {
        set.to_string()
    }
}

impl TryFrom<String> for ShareSet {
    type Error = Fault;
    fn try_from(text: String) -> Result<Self, Fault> {
        text.parse()
    }
}

impl FromStr for ShareSet {
    type Err = Fault;
    fn from_str(text: &str) -> Result<Self, Fault> {
        let bad = || misconfigured("not the name of a set of shares");
        let mut bytes = [0; SET];
        let pairs = text.as_bytes().chunks(2);
        if text.len() != 2 * SET
            || text
                .bytes()
                .any(|digit| !matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(bad());
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let pair = core::str::from_utf8(pair).map_err(|_| bad())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| bad())?;
        }
        Ok(Self(bytes))
    }
}

fn check_of(bytes: &[u8]) -> [u8; CHECK] {
    hash(b"kta-share/1 check", bytes)
}

/// The first bytes of the hash of `what` and `bytes`, the latter of one length for each `what`.
fn hash<const N: usize>(what: &[u8], bytes: &[u8]) -> [u8; N] {
    let mut all = Zeroizing::new(what.to_vec());
    all.reserve_exact(bytes.len());
    all.extend_from_slice(bytes);
    let digest = Digest::of(&all);
    core::array::from_fn(|at| digest.as_bytes()[at])
}

/// In groups of four, behind the prefix. The bytes are a multiple of five.
fn to_base_32(bytes: &[u8]) -> SecretString {
    let mut text = String::with_capacity(PREFIX.len() + 2 * bytes.len());
    text.push_str(PREFIX);
    for (group, five) in bytes.chunks(5).enumerate() {
        let mut bits = [0; 8];
        bits[3..3 + five.len()].copy_from_slice(five);
        let mut bits = u64::from_be_bytes(bits);
        for digit in 0..8 {
            if digit % 4 == 0 {
                text.push(if group + digit == 0 { ' ' } else { '-' });
            }
            text.push(char::from(DIGITS[(bits >> (35 - 5 * digit)) as usize & 31]));
        }
        bits.zeroize();
    }
    text.into()
}

fn from_base_32(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST));
    let (mut bits, mut count) = (0u64, 0);
    for digit in text
        .bytes()
        .filter(|digit| !matches!(digit, b'-' | b' ' | b'\t' | b'\r' | b'\n'))
    {
        let digit = match digit.to_ascii_uppercase() {
            b'I' | b'L' => b'1',
            b'O' => b'0',
            digit => digit,
        };
        let value = DIGITS.iter().position(|known| *known == digit)?;
        bits = bits << 5 | value as u64;
        count += 1;
        if count == 8 {
            bytes.extend_from_slice(&bits.to_be_bytes()[3..]);
            (bits, count) = (0, 0);
        }
    }
    (count == 0 && bytes.len() == SHARE).then_some(bytes)
}

const fn misconfigured(detail: &'static str) -> Fault {
    fault(FaultKind::Misconfigured).because(detail)
}

const fn fault(kind: FaultKind) -> Fault {
    Fault::new(kind, Port::Kms, "recovery shares")
}

const VERSION: u8 = 1;
const SET: usize = 16;
const CHECK: usize = 4;
const SHARE: usize = 3 + SET + SecretKey::LENGTH + CHECK;
const PREFIX: &str = "kta-share/1";
const LONGEST: usize = 512;
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const TOO_FEW: &str = "too few shares";

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    /// Paper is kept for decades: this text must be readable for as long.
    #[test]
    fn the_written_format_does_not_drift() {
        let share = Share {
            set: ShareSet(core::array::from_fn(|at| at as u8)),
            threshold: 3,
            number: 2,
            value: SecretKey::from_bytes(core::array::from_fn(|at| 0xF0 ^ at as u8)),
        };
        let text = include_str!("share.txt").trim();
        assert_eq!(share.text().expose_secret(), text);
        assert_eq!(Share::read(text).unwrap(), share);
        assert_eq!(text.len(), PREFIX.len() + 22 * 5);
        let digits = &text[PREFIX.len()..];
        for spelt in [
            digits.to_lowercase(),
            digits.replace('0', "O").replace('1', "l"),
            digits.replace('-', "\n "),
        ] {
            let spelt = format!(" KTA-Share/1{spelt}");
            assert_eq!(Share::read(&spelt).unwrap(), share);
        }
    }

    #[test]
    fn a_set_has_one_name() {
        let set = ShareSet([0xAB; SET]);
        assert_eq!(set.to_string().parse(), Ok(set));
        assert_eq!(set.label().as_str(), "ab".repeat(16));
        for bad in [
            "",
            "ab",
            &"AB".repeat(16),
            &"+1".repeat(16),
            &"é".repeat(16),
        ] {
            assert!(bad.parse::<ShareSet>().is_err());
        }
    }
}
