//! The compact form of sealed fields and index tags in a row: text forms of ciphertext would
//! take a third more.
//!
//! | what | bytes |
//! |---|---|
//! | form | 1: `2` of fields, `1` of tags and of fields as they were written before |
//! | number of items | variable |
//! | fields, form 2: number of heads | variable |
//! | fields, form 2: each head | 38 |
//! | each field, form 2 | name, or names of a group, classification (1), revision (variable), head (variable), what is left of the sealed bytes |
//! | each field, form 1 | name, category (1), flags (1), revision (variable), sealed bytes |
//! | each tag | name, tag |
//!
//! Names and byte strings stand behind their length. Lengths and numbers are LEB128.
//!
//! The values of a record begin with the same version, suite, generation and key commitment, and
//! differ in the nonce between them (`kta-core/vectors/FORMAT.md`). Form 2 keeps what they share
//! once, as a head; a field names its head from 1 on, or 0 when its bytes are kept as they are.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use kta_core::crypto::IndexTag;
use kta_core::pii::{Category, Classification, FieldGroup, FieldName, Sealed, SealedField};

/// Writes sealed fields.
pub(crate) fn write_fields(fields: &BTreeMap<FieldGroup, SealedField>) -> Vec<u8> {
    let sealed = || fields.values().map(|field| field.sealed.as_bytes());
    let mut heads: Vec<Head<'_>> = Vec::new();
    for head in sealed().filter_map(Head::of) {
        if !heads.contains(&head) {
            heads.push(head);
        }
    }
    let length: usize = sealed().map(|bytes| bytes.len() + 24).sum();
    let mut out = Vec::with_capacity(length + 8);
    out.push(SHARED);
    write_number(&mut out, fields.len() as u64);
    write_number(&mut out, heads.len() as u64);
    for Head(front, commitment) in &heads {
        out.extend_from_slice(*front);
        out.extend_from_slice(*commitment);
    }
    for (group, field) in fields {
        write_bytes(&mut out, group.as_str().as_bytes());
        out.push(class_byte(field.classification));
        write_number(&mut out, field.revision);
        let bytes = field.sealed.as_bytes();
        let known = Head::of(bytes).and_then(|own| heads.iter().position(|head| *head == own));
        if let Some(at) = known {
            write_number(&mut out, at as u64 + 1);
            write_number(&mut out, (bytes.len() - HEAD) as u64);
            out.extend_from_slice(&bytes[NONCE]);
            out.extend_from_slice(&bytes[COMMITMENT.end..]);
        } else {
            write_number(&mut out, 0);
            write_bytes(&mut out, bytes);
        }
    }
    out
}

/// Reads sealed fields; `None` for anything that [`write_fields`] does not write, nor ever wrote.
pub(crate) fn read_fields(bytes: &[u8]) -> Option<BTreeMap<FieldGroup, SealedField>> {
    let (&form, mut rest) = bytes.split_first()?;
    if form != SHARED && form != FORM {
        return None;
    }
    let many = read_number(&mut rest)?;
    let mut heads = Vec::new();
    if form == SHARED {
        for _ in 0..read_number(&mut rest)? {
            let (front, after) = rest.split_first_chunk()?;
            let (commitment, after) = after.split_first_chunk()?;
            heads.push(Head(front, commitment));
            rest = after;
        }
    }
    let mut fields = BTreeMap::new();
    for _ in 0..many {
        let group = read_group(&mut rest)?;
        let field = if form == SHARED {
            read_field(&mut rest, &heads)?
        } else {
            read_whole_field(&mut rest)?
        };
        fields.insert(group, field);
    }
    rest.is_empty().then_some(fields)
}

fn read_field(rest: &mut &[u8], heads: &[Head<'_>]) -> Option<SealedField> {
    let (&class, after) = rest.split_first()?;
    *rest = after;
    let revision = read_number(rest)?;
    let head = usize::try_from(read_number(rest)?).ok()?;
    let body = read_bytes(rest)?;
    let sealed = match head.checked_sub(1) {
        None => body.to_vec(),
        Some(at) => {
            let Head(front, commitment) = heads.get(at)?;
            let (nonce, value) = body.split_at_checked(NONCE.len())?;
            [front.as_slice(), nonce, commitment.as_slice(), value].concat()
        }
    };
    Some(SealedField {
        classification: classification(class & 0xF, class >> 4)?,
        revision,
        sealed: Sealed::from_bytes(sealed),
    })
}

fn read_whole_field(rest: &mut &[u8]) -> Option<SealedField> {
    let (&[category, flags], after) = rest.split_first_chunk()?;
    *rest = after;
    Some(SealedField {
        classification: classification(category, flags)?,
        revision: read_number(rest)?,
        sealed: Sealed::from_bytes(read_bytes(rest)?.to_vec()),
    })
}

/// What sealed values under one key begin with: version, suite and generation; and, behind the
/// nonce, the key commitment.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Head<'b>(&'b [u8; FRONT], &'b [u8; COMMITMENT.end - COMMITMENT.start]);

impl<'b> Head<'b> {
    /// That of sealed bytes; `None` when they are too short to have one.
    fn of(bytes: &'b [u8]) -> Option<Self> {
        let commitment = bytes.get(COMMITMENT)?;
        Some(Self(bytes.first_chunk()?, commitment.try_into().ok()?))
    }
}

/// Writes index tags.
pub(crate) fn write_tags<'t>(
    tags: impl ExactSizeIterator<Item = &'t (FieldName, IndexTag)>,
) -> Vec<u8> {
    let mut out = vec![FORM];
    write_number(&mut out, tags.len() as u64);
    for (name, tag) in tags {
        write_bytes(&mut out, name.as_str().as_bytes());
        write_bytes(&mut out, tag.as_bytes());
    }
    out
}

/// Reads index tags; `None` for anything that [`write_tags`] does not write.
pub(crate) fn read_tags(bytes: &[u8]) -> Option<Vec<(FieldName, IndexTag)>> {
    let mut rest = bytes.strip_prefix(&[FORM])?;
    let mut tags = Vec::new();
    for _ in 0..read_number(&mut rest)? {
        let name = read_name(&mut rest)?;
        tags.push((name, IndexTag::from_bytes(read_bytes(&mut rest)?.to_vec())));
    }
    rest.is_empty().then_some(tags)
}

/// What a probe recognises a removed row by: of each sealed value 16 bytes of the beginning of its
/// ciphertext, of every second kibibyte and of its end; of the header the end of its MAC. Several,
/// because a value may be split where a page ends; none of what is alike in other people's rows,
/// nor of what the two forms of a row write apart.
pub(crate) fn marks_of(fields: &BTreeMap<FieldGroup, SealedField>, header: &[u8]) -> Vec<u128> {
    let mut marks: Vec<[u8; 16]> = header.last_chunk().copied().into_iter().collect();
    for bytes in fields.values().map(|field| field.sealed.as_bytes()) {
        // Bytes without a head are kept as they are.
        let lead = COMMITMENT.end * usize::from(bytes.len() >= COMMITMENT.end + 16);
        let inner = (lead..bytes.len())
            .step_by(2048)
            .filter_map(|at| bytes[at..].first_chunk());
        let end = bytes.last_chunk().filter(|_| bytes.len() >= lead + 16);
        marks.extend(inner.chain(end));
    }
    marks.into_iter().map(u128::from_be_bytes).collect()
}

pub(crate) fn write_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(crate) fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(crate) fn read_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        let bits = u64::from(byte & 0x7F);
        number |= bits.checked_mul(1 << shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

pub(crate) fn read_bytes<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = usize::try_from(read_number(rest)?).ok()?;
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(bytes)
}

fn read_name(rest: &mut &[u8]) -> Option<FieldName> {
    match read_group(rest)?.names() {
        [name] => Some(name.clone()),
        _ => None,
    }
}

fn read_group(rest: &mut &[u8]) -> Option<FieldGroup> {
    let bytes = read_bytes(rest)?;
    GROUPS.with_borrow_mut(|groups| {
        // Schemas have few groups, and every row has them: one is checked and made once. Each is
        // bounded in length, so that what is remembered is.
        if let Some(group) = groups.get(bytes) {
            return Some(group.clone());
        }
        let group = FieldGroup::parse(core::str::from_utf8(bytes).ok()?).ok()?;
        if groups.len() >= KNOWN_GROUPS {
            groups.clear();
        }
        groups.insert(bytes.into(), group.clone());
        Some(group)
    })
}

thread_local! {
    static GROUPS: RefCell<HashMap<Box<[u8]>, FieldGroup>> = RefCell::default();
}

/// How many a thread remembers.
const KNOWN_GROUPS: usize = 1024;

fn class_byte(classification: Classification) -> u8 {
    let Classification {
        category,
        art9,
        art10,
        il_esi,
        minor,
    } = classification;
    let flags = [minor, il_esi, art10, art9];
    let flags = flags
        .iter()
        .fold(0, |byte, flag| byte << 1 | u8::from(*flag));
    flags << 4 | category_byte(category)
}

fn classification(category: u8, flags: u8) -> Option<Classification> {
    let flag = |at: u8| flags >> at & 1 == 1;
    (flags < 16).then_some(Classification {
        category: category_of(category)?,
        art9: flag(0),
        art10: flag(1),
        il_esi: flag(2),
        minor: flag(3),
    })
}

const fn category_byte(category: Category) -> u8 {
    match category {
        Category::Case => 1,
        Category::CaseRef => 2,
        Category::EmployerRecord => 3,
        Category::FirmRecord => 4,
        Category::Identity => 5,
        Category::PublicFile => 6,
        Category::Special => 7,
        Category::SpecialProtected => 8,
        Category::SpecialSealed => 9,
    }
}

fn category_of(byte: u8) -> Option<Category> {
    Category::ALL
        .into_iter()
        .find(|category| category_byte(*category) == byte)
}

const FORM: u8 = 1;

/// The form of fields whose heads stand apart.
const SHARED: u8 = 2;

/// Bytes of version, suite and generation.
const FRONT: usize = 6;

/// Where a sealed value has its nonce.
const NONCE: Range<usize> = FRONT..18;

/// Where it has the commitment to its key.
const COMMITMENT: Range<usize> = NONCE.end..50;

/// Bytes of a head.
const HEAD: usize = COMMITMENT.end - NONCE.end + FRONT;

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> BTreeMap<FieldGroup, SealedField> {
        // Some too short for a head, some alike, one of another key.
        let sealed = |length: usize| {
            let key = |at: usize| if length == 240 { !at as u8 } else { at as u8 };
            Sealed::from_bytes((0..length).map(key).collect())
        };
        Category::ALL
            .into_iter()
            .enumerate()
            .map(|(at, category)| {
                let mut classification = Classification::of(category).of_minor(at % 2 == 0);
                classification.art10 = at % 3 == 0;
                let revision = [0, 1, 127, 128, u64::MAX][at % 5];
                let field = SealedField {
                    classification,
                    revision,
                    sealed: sealed(at * 40),
                };
                (FieldGroup::parse(&format!("field_{at}")).unwrap(), field)
            })
            .collect()
    }

    #[test]
    fn fields_and_tags_come_back_as_written() {
        for fields in [fields(), BTreeMap::new()] {
            assert_eq!(read_fields(&write_fields(&fields)), Some(fields));
        }
        let tags: Vec<_> = fields()
            .into_keys()
            .map(|group| (group.names()[0].clone(), IndexTag::from_bytes(vec![1, 2])))
            .collect();
        assert_eq!(read_tags(&write_tags(tags.iter())), Some(tags));
    }

    #[test]
    fn what_the_values_of_a_record_share_is_written_once() {
        let bytes = [[7; 6].as_slice(), &[1; 12], &[9; 32], &[5; 64]].concat();
        let record = |many: u8| -> BTreeMap<FieldGroup, SealedField> {
            (0..many)
                .map(|number| {
                    let mut bytes = bytes.clone();
                    bytes[NONCE].fill(number);
                    let field = SealedField {
                        classification: Classification::of(Category::Identity),
                        revision: 1,
                        sealed: Sealed::from_bytes(bytes),
                    };
                    (
                        FieldGroup::parse(&format!("field_{number}")).unwrap(),
                        field,
                    )
                })
                .collect()
        };
        let length = |many| write_fields(&record(many)).len();
        // Length and text of the name, classification, revision, head, length; nonce and value.
        assert_eq!(length(3) - length(2), 8 + 4 + 12 + 64);
        assert_eq!(read_fields(&write_fields(&record(3))), Some(record(3)));
    }

    #[test]
    fn a_row_of_the_first_form_is_read() {
        let whole = [
            [1, 1].as_slice(),
            &[5, b'e', b'm', b'a', b'i', b'l', 5, 0b1010, 3, 4],
            &[9, 8, 7, 6],
        ]
        .concat();
        let fields = read_fields(&whole).unwrap();
        let (name, field) = fields.first_key_value().unwrap();
        assert_eq!(name.as_str(), "email");
        assert_eq!(field.classification.category, Category::Identity);
        assert!(field.classification.minor && field.classification.art10);
        assert!(!field.classification.art9 && !field.classification.il_esi);
        assert_eq!(
            (field.revision, field.sealed.as_bytes()),
            (3, &[9, 8, 7, 6][..])
        );
        for end in 0..whole.len() {
            assert_eq!(read_fields(&whole[..end]), None);
        }
    }

    #[test]
    fn no_cut_or_flipped_form_is_read_as_another_length_and_none_panics() {
        let whole = write_fields(&fields());
        for end in 0..whole.len() {
            assert_eq!(read_fields(&whole[..end]), None);
        }
        assert_eq!(read_fields(&[whole.clone(), vec![0]].concat()), None);
        for at in 0..whole.len() {
            for flip in [1, 0x80, 0xFF] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                drop(read_fields(&bytes));
                drop(read_tags(&bytes));
            }
        }
    }
}
