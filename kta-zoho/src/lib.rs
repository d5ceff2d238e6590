//! Zoho CRM v8 as the firm's Crm port.
// The emulator writes the vendor's very wide metadata objects as one `json!` each.
#![recursion_limit = "512"]

#[cfg(feature = "emulator")]
pub mod emulator;
