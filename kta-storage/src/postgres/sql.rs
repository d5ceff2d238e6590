//! A statement with its values, and rows read back. Values never show in `Debug`, because the
//! driver's own log would print them.

use core::fmt;
use std::borrow::Cow;
use std::error::Error as StdError;

use bytes::BytesMut;
use kta_core::audit::Label;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

/// A statement and its values, `$1` first.
#[derive(Debug)]
pub(super) struct Sql {
    pub(super) text: Cow<'static, str>,
    pub(super) values: Vec<(Value, Type)>,
    /// Whether it is sent as text alone, as many statements as are in it.
    pub(super) plain: bool,
}

impl Sql {
    pub(super) fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            text: text.into(),
            values: Vec::new(),
            plain: false,
        }
    }

    /// Statements without values.
    pub(super) fn plain(text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            plain: true,
            ..Self::new(text)
        }
    }

    pub(super) fn with(mut self, value: impl ToSql + Send + Sync + 'static, of: Type) -> Self {
        self.values.push((Value(Box::new(value)), of));
        self
    }

    pub(super) fn id(self, id: &[u8; 16]) -> Self {
        self.with(Id(*id), Type::UUID)
    }

    pub(super) fn ids(self, ids: Vec<Id>) -> Self {
        self.with(ids, Type::UUID_ARRAY)
    }

    pub(super) fn maybe_ids(self, ids: Vec<Option<Id>>) -> Self {
        self.with(ids, Type::UUID_ARRAY)
    }

    pub(super) fn int(self, number: i64) -> Self {
        self.with(number, Type::INT8)
    }

    pub(super) fn ints(self, numbers: Vec<i64>) -> Self {
        self.with(numbers, Type::INT8_ARRAY)
    }

    pub(super) fn maybe_ints(self, numbers: Vec<Option<i64>>) -> Self {
        self.with(numbers, Type::INT8_ARRAY)
    }

    pub(super) fn text(self, text: &str) -> Self {
        self.with(text.to_owned(), Type::TEXT)
    }

    pub(super) fn texts(self, texts: Vec<String>) -> Self {
        self.with(texts, Type::TEXT_ARRAY)
    }

    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        self.with(bytes.to_vec(), Type::BYTEA)
    }

    pub(super) fn many_bytes(self, bytes: Vec<Vec<u8>>) -> Self {
        self.with(bytes, Type::BYTEA_ARRAY)
    }

    /// The next value's place, for statements that are put together.
    pub(super) fn next(&self) -> usize {
        self.values.len() + 1
    }

    /// Adds to the text.
    pub(super) fn push(&mut self, text: &str) {
        self.text.to_mut().push_str(text);
    }

    pub(super) fn types(&self) -> Vec<Type> {
        self.values.iter().map(|(_, of)| of.clone()).collect()
    }
}

/// A value on its way to the server.
pub(super) struct Value(Box<dyn ToSql + Send + Sync>);

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}

impl ToSql for Value {
    fn to_sql(
        &self,
        of: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        self.0.to_sql_checked(of, out)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// Sixteen bytes as a `uuid`: the shortest column that holds them, ordered as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(pub(super) [u8; 16]);

impl ToSql for Id {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::UUID
    }

    to_sql_checked!();
}

impl<'r> FromSql<'r> for Id {
    fn from_sql(_: &Type, raw: &'r [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(raw.try_into()?))
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::UUID
    }
}

/// A value as the server writes it, whatever it is.
pub(super) struct Raw(pub(super) Vec<u8>);

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Raw(_)")
    }
}

impl ToSql for Raw {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'r> FromSql<'r> for Raw {
    fn from_sql(_: &Type, raw: &'r [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Reads a column; `None` when it is not what was written.
pub(super) fn column<'r, T: FromSql<'r>>(row: &'r Row, at: usize) -> Option<T> {
    row.try_get(at).ok()
}

/// Reads an id, or the lack of one.
pub(super) fn maybe<T>(row: &Row, at: usize, of: impl Fn([u8; 16]) -> T) -> Option<Option<T>> {
    let id: Option<Id> = column(row, at)?;
    Some(id.map(|Id(bytes)| of(bytes)))
}

pub(super) fn number(row: &Row, at: usize) -> Option<u64> {
    u64::try_from(column::<i64>(row, at)?).ok()
}

pub(super) fn label(row: &Row, at: usize) -> Option<Label> {
    Label::new(column::<String>(row, at)?).ok()
}
