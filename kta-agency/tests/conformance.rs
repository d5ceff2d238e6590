//! The portal desk keeps the contract of `Channel`.

mod common;

kta_core::channel_conformance!(
    #[tokio::test]
    common::fresh
);
