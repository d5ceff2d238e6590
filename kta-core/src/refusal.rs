//! Lawful noes: one stable code each, the same for the same input, never a personal value.
//!
//! The codes are this house's contract with the people who run it: procedures, training and
//! dashboards name them. A code never changes its meaning; [`guidance`](Code::guidance) may
//! improve.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::audit::Safe;
use crate::guidance::{self, Language};

/// A lawful no.
///
/// It carries a [`Code`] and audit-safe facts (ids, counts, fixed words) that say what it is
/// about. It has no place in which a personal value could stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    code: Code,
    facts: Vec<(&'static str, Safe)>,
}

impl Refusal {
    /// A refusal with this code.
    #[must_use]
    pub const fn new(code: Code) -> Self {
        Self {
            code,
            facts: Vec::new(),
        }
    }

    /// The same refusal with one more fact, for example which document it is about.
    #[must_use]
    pub fn about(mut self, what: &'static str, fact: impl Into<Safe>) -> Self {
        self.facts.push((what, fact.into()));
        self
    }

    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// What the refusal is about, in ids, counts and fixed words.
    #[must_use]
    pub fn facts(&self) -> &[(&'static str, Safe)] {
        &self.facts
    }
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.code.meaning())?;
        for (index, (what, fact)) in self.facts.iter().enumerate() {
            let lead = if index == 0 { " (" } else { ", " };
            write!(f, "{lead}{what} {fact}")?;
        }
        if !self.facts.is_empty() {
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

macro_rules! codes {
    ($($name:ident = $text:literal, $meaning:literal;)*) => {
        /// The stable code of a [`Refusal`].
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = concat!("`", $text, "`: ", $meaning, ".")] $name,)*
        }

        impl Code {
            /// Every code there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code as procedures and dashboards write it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What the code means, in a few words.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }
        }
    };
}

codes! {
    AccNoMfa = "ACC-NO-MFA", "an administrator has no second factor";
    AccOverpriv = "ACC-OVERPRIV", "an integration identity has more rights than its task";
    AccStale = "ACC-STALE", "the access list was not certified in time";
    AccUnlisted = "ACC-UNLISTED", "an active user is not on the approved access list";
    AclDeny = "ACL-DENY", "no such thing, or no right to it: the answer is the same";
    AclOrphan = "ACL-ORPHAN", "the wall would lock out the lead of the matter";
    AgyChannel = "AGY-CHANNEL", "this class of data may not go by this channel";
    AgyEdition = "AGY-EDITION", "the form's edition is not accepted on that day";
    AgyExcess = "AGY-EXCESS", "the package holds a document that the form does not require";
    AgyFiled = "AGY-FILED", "another package of this form was filed in the matter";
    AgyFormat = "AGY-FORMAT", "the agency does not accept this file type or size";
    AgyNoAuth = "AGY-NO-AUTH", "there is no signed authority to act for the client";
    AgyReceipt = "AGY-RECEIPT", "the receipt number is invalid or bound to another matter";
    AgySign = "AGY-SIGN", "the form lacks the signature that the agency requires";
    AgyTranslation = "AGY-TRANSLATION", "a document lacks its certified translation";
    AgyWrongPerson = "AGY-WRONG-PERSON", "the package holds a document of somebody else";
    AudChain = "AUD-CHAIN", "the audit log was altered";
    AudDown = "AUD-DOWN", "the audit log cannot be written, so nothing may happen";
    AudFork = "AUD-FORK", "an older copy of the store was put back";
    AudGap = "AUD-GAP", "an interval of the vendor's log is missing";
    AudIndep = "AUD-INDEP", "the assessor is not independent";
    AudLate = "AUD-LATE", "the vendor's log gained rows in a sealed interval";
    AudNoevid = "AUD-NOEVID", "a finding cannot be closed without evidence";
    AudTrunc = "AUD-TRUNC", "the audit log is shorter than its checkpoint";
    CfgStale = "CFG-STALE", "the settings snapshot is too old";
    CrmFieldRestricted = "CRM-FIELD-RESTRICTED", "the CRM withholds a personal field, so it only looks empty";
    CrmLeakField = "CRM-LEAK-FIELD", "an identifier stands in a field that is not meant for it";
    CrmNoBasis = "CRM-NO-BASIS", "the CRM record has no lawful basis";
    CrmVanished = "CRM-VANISHED", "a CRM record is gone without a delete event";
    CrmWrongStore = "CRM-WRONG-STORE", "this category may not be kept in the CRM";
    CryErased = "CRY-ERASED", "the person's keys were destroyed: lawful state, not a fault";
    CryKey = "CRY-KEY", "the key version is not known";
    CryNonce = "CRY-NONCE", "a nonce was used before";
    CrySwap = "CRY-SWAP", "the sealed value does not belong here";
    DlpBlock = "DLP-BLOCK", "the content may not leave by this way";
    DlpOpaque = "DLP-OPAQUE", "the content cannot be inspected, so it may not leave";
    DlpResidue = "DLP-RESIDUE", "the redaction left something readable";
    DocLabel = "DOC-LABEL", "special-category content has no label";
    DocNover = "DOC-NOVER", "versioning is off in this library";
    DocPath = "DOC-PATH", "the file name or path is not allowed";
    DocPiiName = "DOC-PII-NAME", "the file name or path holds personal data";
    DspChanged = "DSP-CHANGED", "the set changed since it was approved";
    DspHold = "DSP-HOLD", "a legal hold was placed meanwhile";
    DspOpen = "DSP-OPEN", "the matter is open or in dispute";
    DspOriginal = "DSP-ORIGINAL", "an original of the client was not returned";
    DspSelf = "DSP-SELF", "the approver is the proposer or the other approver";
    DstCeInvalid = "DST-CE-INVALID", "a copy of the key exists, so cryptographic erase proves nothing";
    DstHold = "DST-HOLD", "a legal hold stands";
    DstResidue = "DST-RESIDUE", "the probe still finds data";
    DstUnmapped = "DST-UNMAPPED", "there may be a copy at an unknown place";
    ExtClass = "EXT-CLASS", "a class that must be destroyed cannot be archived";
    ExtFixity = "EXT-FIXITY", "the archive does not match its manifest";
    ExtNoTrigger = "EXT-NO-TRIGGER", "an archive needs the date its period starts from";
    ExtOpen = "EXT-OPEN", "a deadline is still open";
    ImpEffect = "IMP-EFFECT", "a change cannot be closed before its effect was checked";
    ImpSource = "IMP-SOURCE", "a measure without its source query";
    IncAmend = "INC-AMEND", "a past time changes only by an amendment";
    IncClock = "INC-CLOCK", "a mandatory notification is unanswered";
    IncTimes = "INC-TIMES", "the times of the incident contradict each other";
    IntBomb = "INT-BOMB", "the archive is too deep, too many or expands too far";
    IntChannel = "INT-CHANNEL", "the channel is not registered";
    IntMalformed = "INT-MALFORMED", "the message or form cannot be read";
    IntOpaque = "INT-OPAQUE", "the archive is protected, so it cannot be checked";
    IntPath = "INT-PATH", "a name in the archive or attachment is dangerous";
    IntSize = "INT-SIZE", "the message is larger than allowed";
    IntSpoof = "INT-SPOOF", "the sender's domain does not vouch for the message";
    IntType = "INT-TYPE", "the file type is not allowed or not what its name says";
    NetCert = "NET-CERT", "the server's certificate is not valid";
    NetHost = "NET-HOST", "the host is not on the list";
    NetPlain = "NET-PLAIN", "the connection would not be encrypted";
    NetRedirect = "NET-REDIRECT", "the server points to a host off the list";
    NetTokenLeak = "NET-TOKEN-LEAK", "a credential would stand in a URL or log";
    NetVersion = "NET-VERSION", "the protocol version is too old";
    PolExpired = "POL-EXPIRED", "the policy is past its review date";
    PolSign = "POL-SIGN", "the policy change is not signed by two";
    PrcNoGround = "PRC-NO-GROUND", "special-category data without a recorded ground";
    PrcPurpose = "PRC-PURPOSE", "the purpose is not covered by the lawful basis";
    PrcRestricted = "PRC-RESTRICTED", "processing of the record is restricted";
    PrcTransition = "PRC-TRANSITION", "the matter cannot go from this state to that";
    RetBrake = "RET-BRAKE", "too many records would become eligible at once";
    RetConflict = "RET-CONFLICT", "retention rules contradict each other";
    RetNoTrigger = "RET-NO-TRIGGER", "the date that the period starts from is unknown";
    RetPack = "RET-PACK", "the retention pack is unsigned, unknown or unreadable";
    RetUnclassed = "RET-UNCLASSED", "the record has no retention class";
    RetWait = "RET-WAIT", "the waiting period of a shorter retention runs";
    RevCriminalCopy = "REV-CRIMINAL-COPY", "keeping a police certificate needs an attorney's decision";
    RevExcess = "REV-EXCESS", "the document is not needed for the purpose";
    RevIncomplete = "REV-INCOMPLETE", "required items are missing";
    RevInconsistent = "REV-INCONSISTENT", "the documents contradict each other";
    RevReleased = "REV-RELEASED", "the matter was released without this delivery";
    RevSelf = "REV-SELF", "the reviewer is the submitter";
    RevUnsorted = "REV-UNSORTED", "an attachment is neither sorted nor set aside";
    RevWrongPerson = "REV-WRONG-PERSON", "the document belongs to somebody else";
    ShpAnonLink = "SHP-ANON-LINK", "an anonymous link gives access";
    ShpBroadGroup = "SHP-BROAD-GROUP", "a group wider than the matter has access";
    ShpGuest = "SHP-GUEST", "a guest has access";
    ShpWallBreach = "SHP-WALL-BREACH", "a walled person has effective access";
    ShrClass = "SHR-CLASS", "this category may not be shared outside";
    ShrDomain = "SHR-DOMAIN", "the recipient's domain is not verified";
    ShrExpiry = "SHR-EXPIRY", "a share needs an end";
    ShrLocation = "SHR-LOCATION", "the file is not in the matter's own place";
    SupListed = "SUP-LISTED", "the person was erased and may not come back";
    SynLocked = "SYN-LOCKED", "processing of the record is stopped in the CRM";
    SynReparent = "SYN-REPARENT", "the record moved to another owner or matter";
    SynSchema = "SYN-SCHEMA", "the CRM's schema changed";
    SynSkew = "SYN-SKEW", "the clocks differ too much";
    SynUnmapped = "SYN-UNMAPPED", "a field is not on the map";
    TrnBackdate = "TRN-BACKDATE", "a training completion cannot be back-dated";
    TrnExpired = "TRN-EXPIRED", "the required training is not valid";
    TrnIdentity = "TRN-IDENTITY", "the training was completed by somebody else";
}

impl Code {
    /// What to do now after a refusal with this code, in one sentence.
    #[must_use]
    pub const fn guidance(self, language: Language) -> &'static str {
        guidance::of(self, language)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Text that is not a refusal code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a refusal code")]
pub struct UnknownCode;

impl FromStr for Code {
    type Err = UnknownCode;
    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.as_str() == text)
            .ok_or(UnknownCode)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_sorted_and_round_trip() {
        assert!(
            Code::ALL
                .windows(2)
                .all(|pair| pair[0].as_str() < pair[1].as_str())
        );
        for code in Code::ALL {
            assert_eq!(code.as_str().parse(), Ok(*code));
        }
    }

    #[test]
    fn a_refusal_reads_as_code_meaning_and_facts() {
        let refusal = Refusal::new(Code::ShrExpiry).about("count", 2_u64);
        assert_eq!(
            refusal.to_string(),
            "SHR-EXPIRY: a share needs an end (count 2)"
        );
    }
}
