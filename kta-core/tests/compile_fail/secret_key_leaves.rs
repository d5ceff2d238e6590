use kta_core::crypto::{IndexKey, RecordKey, SecretKey, SubjectKey};

fn copied<T: Clone>(_: &T) {}

fn serialised<T: serde::Serialize>(_: &T) {}

fn shown<T: std::fmt::Display>(_: &T) {}

fn leak(secret: &SecretKey, subject: &SubjectKey, record: &RecordKey, index: &IndexKey) {
    copied(secret);
    copied(subject);
    copied(record);
    copied(index);
    serialised(secret);
    serialised(subject);
    serialised(record);
    serialised(index);
    shown(secret);
}

fn main() {}
