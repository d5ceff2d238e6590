//! What a database keeps of a firm that the ports do not list, for whoever moves the firm.

use async_trait::async_trait;
use kta_core::id::{Digest, TenantId};
use kta_core::{Port, Result};
use sha2::{Digest as _, Sha256};
use tokio_postgres::Row;

use super::PgStore;
use super::session::Sessions;
use super::sql::{Raw, Sql, column};
use crate::router::Shard;

#[async_trait]
impl Shard for PgStore {
    async fn unlisted(&self, tenant: TenantId) -> Result<Option<Digest>> {
        let mut hash = Sha256::new();
        for listing in [RECORDS, TAGS, CLASSES] {
            listing
                .add_to(&mut hash, &self.inner.sessions, tenant)
                .await?;
        }
        Ok(Some(Digest::from_bytes(hash.finalize().into())))
    }
}

/// Rows of a firm in the order of a key, which is their first columns.
struct Listing {
    key: &'static str,
    rest: &'static str,
    from: &'static str,
}

impl Listing {
    async fn add_to(&self, hash: &mut Sha256, db: &Sessions, tenant: TenantId) -> Result<()> {
        let (mut many, mut last) = (0_u64, None);
        loop {
            let sql = self.after(last.as_ref(), tenant);
            let mut rows = db.read(Port::Store, "agree", tenant, sql).await?;
            for row in &rows {
                many += 1;
                (0..row.len()).for_each(|at| add(hash, row, at));
            }
            if rows.len() < PAGE {
                hash.update(many.to_be_bytes());
                return Ok(());
            }
            last = rows.pop();
        }
    }

    fn after(&self, last: Option<&Row>, tenant: TenantId) -> Sql {
        let Self { key, rest, from } = self;
        let columns = key.split(',').count();
        let sql = Sql::new(format!("SELECT {key}, {rest} FROM {from} = $1"));
        let mut sql = sql.id(tenant.as_bytes());
        if let Some(row) = last {
            let first = sql.next();
            let places = (first..first + columns).map(|place| format!("${place}"));
            let places = places.collect::<Vec<_>>().join(", ");
            for (at, of) in row.columns().iter().enumerate().take(columns) {
                let value: Option<Raw> = column(row, at).flatten();
                sql = sql.with(value, of.type_().clone());
            }
            sql.push(&format!(" AND ({key}) > ({places})"));
        }
        sql.push(&format!(" ORDER BY {key} LIMIT {PAGE}"));
        sql
    }
}

/// Each value with its length, or with a length that none has, so that no two rows look alike.
fn add(hash: &mut Sha256, row: &Row, at: usize) {
    let value: Option<Raw> = column(row, at).flatten();
    let length = value
        .as_ref()
        .map_or(u64::MAX, |Raw(bytes)| bytes.len() as u64);
    hash.update(length.to_be_bytes());
    hash.update(value.map_or_else(Vec::new, |Raw(bytes)| bytes));
}

const RECORDS: Listing = Listing {
    key: "r.subject, r.record",
    rest: "r.matter, r.revision, r.schema, g.governing, r.header, r.fields",
    from: "kta.record r JOIN kta.cohort c ON c.tenant = r.tenant AND c.no = r.cohort
        JOIN kta.reign g ON g.tenant = c.tenant AND g.no = c.reign WHERE r.tenant",
};

const TAGS: Listing = Listing {
    key: "field, tag, record, subject",
    rest: "true",
    from: "kta.tag WHERE tenant",
};

const CLASSES: Listing = Listing {
    key: "c.id",
    rest: "g.governing, c.admits",
    from: "kta.class c LEFT JOIN kta.reign g ON g.tenant = c.tenant AND g.no = c.reign
        WHERE c.tenant",
};

/// Rows that are read together.
const PAGE: usize = 256;
