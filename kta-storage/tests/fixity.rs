//! A stored blob against what the register says of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::{Path, PathBuf};

use kta_core::conformance::Desk;
use kta_core::id::{Digest, DocumentId};
use kta_core::pii::Category;
use kta_core::policy::{Act, Role};
use kta_core::ports::{BlobId, Blobs as _};
use kta_core::{Code, Error};
use kta_storage::{DiskBlobs, Fixity};

#[tokio::test]
async fn what_happened_to_a_blob_on_disk_is_found_each_by_its_name() {
    let folder = common::folder("fixity");
    let blobs = DiskBlobs::open(&folder).unwrap();
    let desk = Desk::new("fixity");
    let id = BlobId {
        tenant: desk.tenant(),
        subject: desk.beneficiary(),
        document: DocumentId::from_bytes([7; 16]),
    };
    let session = desk.session(Role::Paralegal);
    let scope = || desk.scope(id.subject, Category::Case);
    let permit = session.permit(Act::Store, scope()).await.unwrap();
    let mut bytes: Vec<u8> = (0..200_000_u32)
        .map(|at| (at.wrapping_mul(at) >> 7) as u8)
        .collect();
    let content = futures_util::stream::iter([Ok(bytes.clone().into())]);
    let put = blobs.put(&id, Box::pin(content), &permit).await.unwrap();
    let file = only_file(&folder);
    let check = async || Fixity::check(&blobs, &id, put, &permit).await.unwrap();
    assert!(check().await.is_sound());

    bytes[150_000] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let found = Digest::of(&bytes);
    assert_eq!(check().await, Fixity::Altered { found });
    bytes.push(0);
    std::fs::write(&file, &bytes).unwrap();
    assert_eq!(check().await, Fixity::Longer);
    std::fs::write(&file, &bytes[..150_000]).unwrap();
    assert_eq!(check().await, Fixity::Shorter { length: 150_000 });
    std::fs::write(&file, b"").unwrap();
    assert_eq!(check().await, Fixity::Shorter { length: 0 });
    std::fs::remove_file(&file).unwrap();
    assert_eq!(check().await, Fixity::Missing);

    // Looking is reading: it wants a permit.
    let destroyer = desk.session(Role::ServiceDestroy);
    let other = destroyer.permit(Act::Destroy, scope()).await.unwrap();
    let refused = Fixity::check(&blobs, &id, put, &other).await.unwrap_err();
    assert!(matches!(refused, Error::Refused(refusal) if refusal.code() == Code::AclDeny));
}

/// The only blob below the folder.
fn only_file(folder: &Path) -> PathBuf {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    let mut entries: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| !path.ends_with("incoming") && !path.ends_with("lock"))
        .collect();
    assert_eq!(entries.len(), 1);
    let path = entries.remove(0);
    if path.is_dir() {
        only_file(&path)
    } else {
        path
    }
}
