//! The compact form of sealed fields and index tags in a row: text forms of ciphertext would
//! take a third more.
//!
//! | what | bytes |
//! |---|---|
//! | form | 1, always `1` |
//! | number of items | variable |
//! | each field | name, category (1), flags (1), revision (variable), sealed bytes |
//! | each tag | name, tag |
//!
//! Names and byte strings stand behind their length. Lengths and numbers are LEB128.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use kta_core::crypto::IndexTag;
use kta_core::pii::{Category, Classification, FieldName, Sealed, SealedField};

/// Writes sealed fields.
pub(crate) fn write_fields(fields: &BTreeMap<FieldName, SealedField>) -> Vec<u8> {
    let length = fields
        .values()
        .map(|field| field.sealed.as_bytes().len() + 64)
        .sum::<usize>();
    let mut out = Vec::with_capacity(length + 8);
    out.push(FORM);
    write_number(&mut out, fields.len() as u64);
    for (name, field) in fields {
        write_bytes(&mut out, name.as_str().as_bytes());
        let Classification {
            category,
            art9,
            art10,
            il_esi,
            minor,
        } = field.classification;
        let flags = [art9, art10, il_esi, minor];
        out.push(category_byte(category));
        out.push(
            flags
                .iter()
                .rev()
                .fold(0, |byte, flag| byte << 1 | u8::from(*flag)),
        );
        write_number(&mut out, field.revision);
        write_bytes(&mut out, field.sealed.as_bytes());
    }
    out
}

/// Reads sealed fields; `None` for anything that [`write_fields`] does not write.
pub(crate) fn read_fields(bytes: &[u8]) -> Option<BTreeMap<FieldName, SealedField>> {
    let mut rest = bytes.strip_prefix(&[FORM])?;
    let mut fields = BTreeMap::new();
    for _ in 0..read_number(&mut rest)? {
        let name = read_name(&mut rest)?;
        let (&[category, flags], after) = rest.split_first_chunk()?;
        rest = after;
        if flags >= 16 {
            return None;
        }
        let flag = |at: u8| flags >> at & 1 == 1;
        let classification = Classification {
            category: category_of(category)?,
            art9: flag(0),
            art10: flag(1),
            il_esi: flag(2),
            minor: flag(3),
        };
        let revision = read_number(&mut rest)?;
        let sealed = Sealed::from_bytes(read_bytes(&mut rest)?.to_vec());
        fields.insert(
            name,
            SealedField {
                classification,
                revision,
                sealed,
            },
        );
    }
    rest.is_empty().then_some(fields)
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

/// What a probe recognises a removed row by: of each sealed value 16 bytes of its salt, of every
/// second kibibyte and of its end; of the header the end of its MAC. Several, because a value may
/// be split where a page ends; none of what is alike in other people's rows.
pub(crate) fn marks_of(fields: &BTreeMap<FieldName, SealedField>, header: &[u8]) -> Vec<u128> {
    let mut marks: Vec<[u8; 16]> = header.last_chunk().copied().into_iter().collect();
    for bytes in fields.values().map(|field| field.sealed.as_bytes()) {
        let inner = (LEAD..bytes.len())
            .step_by(2048)
            .filter_map(|at| bytes[at..].first_chunk());
        let end = bytes.last_chunk().filter(|_| bytes.len() >= LEAD + 16);
        marks.extend(inner.chain(end));
    }
    marks.into_iter().map(u128::from_be_bytes).collect()
}

fn write_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn read_number(rest: &mut &[u8]) -> Option<u64> {
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

fn read_bytes<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = usize::try_from(read_number(rest)?).ok()?;
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(bytes)
}

fn read_name(rest: &mut &[u8]) -> Option<FieldName> {
    let bytes = read_bytes(rest)?;
    NAMES.with_borrow_mut(|names| {
        // Schemas have few names, and every row has them: a name is checked and made once.
        if let Some(name) = names.get(bytes) {
            return Some(name.clone());
        }
        let name = FieldName::new(core::str::from_utf8(bytes).ok()?).ok()?;
        if names.len() >= KNOWN_NAMES {
            names.clear();
        }
        names.insert(bytes.into(), name.clone());
        Some(name)
    })
}

thread_local! {
    static NAMES: RefCell<HashMap<Box<[u8]>, FieldName>> = RefCell::default();
}

/// How many names a thread remembers.
const KNOWN_NAMES: usize = 1024;

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

/// Version, suite and generation of a sealed value: alike in all values of a person.
const LEAD: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> BTreeMap<FieldName, SealedField> {
        let sealed = |length| Sealed::from_bytes((0..length).map(|at| at as u8).collect());
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
                (FieldName::new(&format!("field_{at}")).unwrap(), field)
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
            .map(|name| (name, IndexTag::from_bytes(vec![1, 2])))
            .collect();
        assert_eq!(read_tags(&write_tags(tags.iter())), Some(tags));
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
