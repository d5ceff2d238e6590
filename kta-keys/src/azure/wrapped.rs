//! The written form of what Azure wrapped.
//!
//! ```text
//! "kta-akv" 1 │ version of the key, 32 hexadecimal digits │ length (2) │ carried │ sealed
//! ```
//!
//! `carried` is a random key under `RSA-OAEP-256`; `sealed` is the secret under that key, in the
//! format of `kta_core::crypto::wrap`. Nothing before `sealed` needs a seal of its own: with any
//! of it changed, the random key does not come back.

/// The parts of a wrapped secret.
pub(super) struct Wrapped<'a> {
    pub(super) version: &'a str,
    pub(super) carried: &'a [u8],
    pub(super) sealed: &'a [u8],
}

impl<'a> Wrapped<'a> {
    pub(super) fn write(&self) -> Option<Vec<u8>> {
        let length = u16::try_from(self.carried.len()).ok()?.to_be_bytes();
        is_version(self.version).then(|| {
            [
                MAGIC,
                self.version.as_bytes(),
                &length,
                self.carried,
                self.sealed,
            ]
            .concat()
        })
    }

    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (version, rest) = rest.split_at_checked(VERSION_DIGITS)?;
        let (length, rest) = rest.split_first_chunk()?;
        let (carried, sealed) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        let version = core::str::from_utf8(version)
            .ok()
            .filter(|version| is_version(version))?;
        Some(Self {
            version,
            carried,
            sealed,
        })
    }
}

/// Whether this is a version of a key as Azure writes it: fit for an address.
pub(super) fn is_version(text: &str) -> bool {
    text.len() == VERSION_DIGITS
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

const MAGIC: &[u8] = b"kta-akv\x01";
const VERSION_DIGITS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let wrapped = Wrapped {
            version: "0123456789abcdef0123456789abcdef",
            carried: b"carried",
            sealed: b"sealed",
        };
        let bytes = wrapped.write().unwrap();
        let read = Wrapped::read(&bytes).unwrap();
        assert_eq!(
            (read.version, read.carried, read.sealed),
            (wrapped.version, wrapped.carried, wrapped.sealed)
        );
        let shortest = bytes.len() - wrapped.sealed.len();
        assert!((0..shortest).all(|cut| Wrapped::read(&bytes[..cut]).is_none()));
        for bad in [
            "../keys/0123456789abcdef01234567",
            "0123456789ABCDEF0123456789ABCDEF",
        ] {
            assert_eq!(bad.len(), VERSION_DIGITS);
            let mut changed = bytes.clone();
            changed[MAGIC.len()..MAGIC.len() + VERSION_DIGITS].copy_from_slice(bad.as_bytes());
            assert!(Wrapped::read(&changed).is_none(), "{bad}");
        }
    }
}
