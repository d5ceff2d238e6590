#![doc = include_str!("../../vectors/FORMAT.md")]
