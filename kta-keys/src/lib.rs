//! Key custodians: where root keys live.
