//! Personal values in memory ([`Pii`]) and at rest ([`Sealed`]).

use core::fmt;
use core::marker::PhantomData;

use secrecy::{ExposeSecret as _, SecretBox};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::policy::Permit;

/// A personal value in memory. It has no `Display`, no telling `Debug`, no serialised form and
/// no copy; it is wiped when dropped, and [`expose`](Pii::expose) wants a [`Permit`] in hand.
///
/// ```
/// use kta_core::pii::Pii;
/// let name = Pii::new(String::from("Testa"));
/// assert_eq!(format!("{name:?}"), "Pii(..)");
/// ```
pub struct Pii<T: Zeroize>(SecretBox<T>);

impl<T: Zeroize> Pii<T> {
    /// Wraps a value that has just come in.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(SecretBox::new(Box::new(value)))
    }

    /// The value, for whoever holds a permit. That the permit covers this very value was
    /// checked when it was opened; here it stands for "somebody was admitted and logged".
    #[must_use]
    pub fn expose<'a>(&'a self, _permit: &'a Permit<'_>) -> &'a T {
        self.0.expose_secret()
    }

    /// The value for sealing it, inside this crate only.
    pub(crate) fn bare(&self) -> &T {
        self.0.expose_secret()
    }
}

impl<T: Zeroize> From<T> for Pii<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: Zeroize> fmt::Debug for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pii(..)")
    }
}

/// A personal value at rest: ciphertext in the written format of
/// [`crypto::envelope`](crate::crypto::envelope). Safe to store and to copy; only a
/// [`Sealer`](crate::policy::Sealer) with the person's key and a permit opens it.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed<T> {
    #[serde(with = "crate::text::base64")]
    bytes: Vec<u8>,
    #[serde(skip)]
    of: PhantomData<fn() -> T>,
}

impl<T> Sealed<T> {
    /// Sealed bytes as they were stored.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            of: PhantomData,
        }
    }

    /// The stored bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl<T> Clone for Sealed<T> {
    fn clone(&self) -> Self {
        Self::from_bytes(self.bytes.clone())
    }
}

impl<T> PartialEq for Sealed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl<T> Eq for Sealed<T> {}

impl<T> fmt::Debug for Sealed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.bytes.len())
    }
}
