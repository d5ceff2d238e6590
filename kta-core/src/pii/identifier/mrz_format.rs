//! Where things stand in a machine readable zone.

use super::IdentifierFlaw;

/// The sizes of document that carry a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MrzFormat {
    /// Visa sticker, full size: two lines of 44.
    MrvA,
    /// Visa sticker, small: two lines of 36.
    MrvB,
    /// Card: three lines of 30.
    Td1,
    /// Older card: two lines of 36.
    Td2,
    /// Passport booklet: two lines of 44.
    Td3,
}

/// Where things stand, counted from 0 over the lines put together.
impl MrzFormat {
    pub(super) fn of(text: &[u8]) -> Result<Self, IdentifierFlaw> {
        match (text.len(), text.first()) {
            (88, Some(b'P')) => Ok(Self::Td3),
            (88, Some(b'V')) => Ok(Self::MrvA),
            (72, Some(b'V')) => Ok(Self::MrvB),
            (72, Some(b'A' | b'C' | b'I' | b'P')) => Ok(Self::Td2),
            (90, Some(b'A' | b'C' | b'I')) => Ok(Self::Td1),
            (72 | 88 | 90, _) => Err(IdentifierFlaw::Prefix),
            _ => Err(IdentifierFlaw::Length),
        }
    }

    pub(super) fn line_length(self) -> usize {
        match self {
            Self::Td1 => 30,
            Self::Td2 | Self::MrvB => 36,
            Self::Td3 | Self::MrvA => 44,
        }
    }

    pub(super) fn names(self) -> (usize, usize) {
        if self == Self::Td1 {
            (60, 90)
        } else {
            (5, self.line_length())
        }
    }

    pub(super) fn number(self) -> usize {
        if self == Self::Td1 {
            5
        } else {
            self.line_length()
        }
    }

    pub(super) fn nationality(self) -> usize {
        if self == Self::Td1 {
            45
        } else {
            self.line_length() + 10
        }
    }

    pub(super) fn birth(self) -> usize {
        if self == Self::Td1 {
            30
        } else {
            self.line_length() + 13
        }
    }

    pub(super) fn sex(self) -> usize {
        self.birth() + 7
    }

    pub(super) fn expiry(self) -> usize {
        self.birth() + 8
    }

    pub(super) fn composite(self) -> Option<usize> {
        match self {
            Self::Td1 => Some(59),
            Self::Td2 => Some(71),
            Self::Td3 => Some(87),
            Self::MrvA | Self::MrvB => None,
        }
    }

    pub(super) fn optional_length(self) -> usize {
        match self {
            Self::MrvA => 16,
            Self::MrvB => 8,
            Self::Td1 => 26,
            Self::Td2 => 7,
            Self::Td3 => 14,
        }
    }
}
