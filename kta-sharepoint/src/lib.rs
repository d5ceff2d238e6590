#![doc = include_str!("../README.md")]

#[cfg(feature = "emulator")]
pub mod emulator;
mod quick_xor;

pub use quick_xor::QuickXor;
