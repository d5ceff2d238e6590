//! The local keyring keeps the contract of `Kms`, before and after it was closed and reopened.

mod common;

kta_core::kms_conformance!(
    #[tokio::test]
    common::fresh
);
