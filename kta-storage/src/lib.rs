//! The firm's own memory: an atomic Store, audit log and sealed blobs on SQLite and local disk.
