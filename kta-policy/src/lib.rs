//! The policy that ships: Cedar access decisions and retention packs (law as data).
