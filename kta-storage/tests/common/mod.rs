//! What several tests need; first folders: one for each call, in the build's own place.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

pub mod classes;
#[cfg(feature = "postgres")]
pub mod cluster;
pub mod erasing;
pub mod killed;
pub mod log;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// An empty folder that no other test uses.
pub fn folder(name: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    let path =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{process}-{number}"));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// What a row has in one piece of a sealed value: what stands before it, a record's values share.
pub fn ciphertext<T>(sealed: &kta_core::pii::Sealed<T>) -> &[u8] {
    &sealed.as_bytes()[50..]
}

/// Whether `needle` stands in any file below `folder`.
pub fn in_any_file(folder: &std::path::Path, needle: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            in_any_file(&path, needle)
        } else {
            let bytes = std::fs::read(&path).unwrap_or_default();
            bytes.windows(needle.len()).any(|window| window == needle)
        }
    })
}
