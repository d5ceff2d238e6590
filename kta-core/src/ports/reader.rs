//! Reading the text that a document carries, such as the machine readable zone of a passport.

use crate::error::Result;
use crate::pii::{MediaType, Pii};
use crate::policy::Permit;

/// Extracts the text layer of a document.
///
/// # Behavior
/// - Gives the text that stands in the file, in reading order as far as the format tells.
/// - A type it does not read, or a file without text, is `None`, never a guess.
/// - Garbage gets a typed refusal, in bounded memory and time.
/// - A permit for an act on content is wanted, and one that has ended is refused.
pub trait Reader: core::fmt::Debug + Send + Sync {
    /// The text of a document, if it has any that can be read.
    ///
    /// # Errors
    /// `ACL-DENY` for a permit that is for another act or has ended; a code of intake (`INT-…`)
    /// for bytes that are too many, or not what `media` says; never a fault for what is in the
    /// file.
    fn text(
        &self,
        media: &MediaType,
        bytes: &Pii<Vec<u8>>,
        permit: &Permit<'_>,
    ) -> Result<Option<Pii<String>>>;
}
