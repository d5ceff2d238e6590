//! The kinds of thing that are looked for.

/// A kind of personal or secret value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Entity {
    /// Postal address up to its city, state or postcode.
    Address,
    /// A credential: cloud and service keys, JSON web tokens, private key blocks.
    ApiKey,
    /// Payment card number (Luhn, issuer range).
    CreditCard,
    /// Bitcoin (base58check) or Ethereum address.
    CryptoWallet,
    /// A date that is somebody's date of birth.
    DateOfBirth,
    /// E-mail address, also spelled out.
    Email,
    /// International bank account number (modulo 97).
    Iban,
    /// Israeli identity number (check digit).
    IlTeudatZehut,
    /// IPv4 or IPv6 address.
    IpAddress,
    /// Hardware address of six octets.
    MacAddress,
    /// The whole machine readable zone of a travel document (check digits).
    Mrz,
    /// Passport number of any country.
    Passport,
    /// A person's name without title.
    Person,
    /// Telephone number.
    Phone,
    /// UK national health service number (modulo 11).
    UkNhs,
    /// UK national insurance number.
    UkNino,
    /// USCIS alien registration number.
    UsANumber,
    /// Bank account number in the United States.
    UsBankAccount,
    /// USCIS receipt number.
    UscisReceipt,
    /// Driver's licence of a US state.
    UsDriverLicense,
    /// DS-160 confirmation number.
    UsDs160,
    /// I-94 admission number.
    UsI94,
    /// US individual taxpayer identification number.
    UsItin,
    /// ABA routing number (3-7-1).
    UsRouting,
    /// SEVIS identification.
    UsSevisId,
    /// US social security number.
    UsSsn,
}

impl Entity {
    /// Every kind.
    pub const ALL: [Self; 26] = [
        Self::Address,
        Self::ApiKey,
        Self::CreditCard,
        Self::CryptoWallet,
        Self::DateOfBirth,
        Self::Email,
        Self::Iban,
        Self::IlTeudatZehut,
        Self::IpAddress,
        Self::MacAddress,
        Self::Mrz,
        Self::Passport,
        Self::Person,
        Self::Phone,
        Self::UkNhs,
        Self::UkNino,
        Self::UsANumber,
        Self::UsBankAccount,
        Self::UscisReceipt,
        Self::UsDriverLicense,
        Self::UsDs160,
        Self::UsI94,
        Self::UsItin,
        Self::UsRouting,
        Self::UsSevisId,
        Self::UsSsn,
    ];

    /// The name that policies, reports and scripts use, for example `US_A_NUMBER`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "ADDRESS",
            Self::ApiKey => "API_KEY",
            Self::CreditCard => "CREDIT_CARD",
            Self::CryptoWallet => "CRYPTO_WALLET",
            Self::DateOfBirth => "DATE_OF_BIRTH",
            Self::Email => "EMAIL",
            Self::Iban => "IBAN",
            Self::IlTeudatZehut => "IL_TEUDAT_ZEHUT",
            Self::IpAddress => "IP_ADDRESS",
            Self::MacAddress => "MAC_ADDRESS",
            Self::Mrz => "MRZ",
            Self::Passport => "PASSPORT",
            Self::Person => "PERSON",
            Self::Phone => "PHONE",
            Self::UkNhs => "UK_NHS",
            Self::UkNino => "UK_NINO",
            Self::UsANumber => "US_A_NUMBER",
            Self::UsBankAccount => "US_BANK_ACCOUNT",
            Self::UscisReceipt => "USCIS_RECEIPT",
            Self::UsDriverLicense => "US_DRIVER_LICENSE",
            Self::UsDs160 => "US_DS160",
            Self::UsI94 => "US_I94",
            Self::UsItin => "US_ITIN",
            Self::UsRouting => "US_ROUTING",
            Self::UsSevisId => "US_SEVIS_ID",
            Self::UsSsn => "US_SSN",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|entity| entity.name() == name)
    }
}

/// Where a value stands and what it is; never the value.
///
/// Offsets count bytes of the text as it was given, the end is exclusive, and both lie on
/// character boundaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Finding {
    /// First byte.
    pub start: u64,
    /// First byte after it.
    pub end: u64,
    /// What it is.
    pub kind: Entity,
    /// How sure, 0 to 100.
    pub confidence: u8,
}
