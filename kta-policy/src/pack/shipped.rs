//! The packs that ship.

/// The texts of the packs that ship, each with its name: what the domain table of this house knows
/// of retention, deadlines, rights, transfers and breaches. They become usable by two signatures;
/// see [`Pack::accept`](super::Pack::accept). Most of their rows nobody has verified yet, and they
/// say so.
pub const SHIPPED: [(&str, &str); 9] = [
    ("kta.breach", include_str!("../../packs/breach.toml")),
    ("kta.eu", include_str!("../../packs/eu.toml")),
    ("kta.firm", include_str!("../../packs/firm.toml")),
    ("kta.il", include_str!("../../packs/il.toml")),
    ("kta.rights", include_str!("../../packs/rights.toml")),
    ("kta.transfer", include_str!("../../packs/transfer.toml")),
    ("kta.uk", include_str!("../../packs/uk.toml")),
    (
        "kta.us-employer",
        include_str!("../../packs/us-employer.toml"),
    ),
    ("kta.us-firm", include_str!("../../packs/us-firm.toml")),
];
