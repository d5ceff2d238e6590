//! Our contestant: the real road. Gate, session and permit; the store with its classes; the
//! sealer; an entry for each operation.

use std::path::Path;

use kta_core::Error;
use kta_core::audit::Outcome;
use kta_core::id::Digest;
use kta_core::policy::Act;
use kta_core::ports::store::{ChangeSet, Ledger as _, Store as _};
use rusqlite::Connection;
use tokio::runtime::Runtime;

use crate::catalogue::Catalogue;
use crate::engine::{Engine, Turn};
use crate::firm::{Books, Firm, created, number_of};
use crate::generate::{Op, mark, mix};
use crate::model::Answer;
use crate::permits::{Permits, Sessions};

pub(crate) struct House {
    runtime: Runtime,
    firm: Firm,
    books: Books,
}

impl House {
    pub(crate) fn open(folder: &Path, records: u32, users: u32) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let firm = runtime.block_on(Firm::open(folder, users));
        let books = Books {
            catalogue: Catalogue::default(),
            receipts: std::collections::HashMap::new(),
            second: 0,
        };
        let mut house = Self {
            runtime,
            firm,
            books,
        };
        house.load(records);
        house
    }

    /// One change set, with one entry, for every thousand records.
    fn load(&mut self, records: u32) {
        let Self {
            runtime,
            firm,
            books,
        } = self;
        runtime.block_on(async {
            let sessions = Sessions::of(firm);
            let permits = Permits::of(&sessions, firm, &[Op::Create { number: 0 }]).await;
            let permit = permits.store();
            for start in (0..records).step_by(1000) {
                let (mut change, mut set) = (firm.change(), Vec::new());
                for number in start..records.min(start + 1000) {
                    let (record, class) = firm.made(books, number, permit).await;
                    set.extend_from_slice(record.key.record.as_bytes());
                    change = class.into_iter().fold(change, ChangeSet::with);
                    change = change.with(created(record));
                }
                let event = permit.event(Act::Store, Outcome::Done);
                let event = event
                    .with("records", set.len() / 16)
                    .with("set", Digest::of(&set));
                firm.store.commit(change.event(event)).await.unwrap();
            }
        });
    }

    /// How many entries the log has.
    pub(crate) fn entries(&self) -> u64 {
        let size = self.firm.store.size(self.firm.gate.tenant());
        self.runtime.block_on(size).unwrap()
    }

    /// Where the bytes are, for each record.
    pub(crate) fn breakdown(&self, records: u32) -> String {
        let db = Connection::open(self.firm.folder.join("store.db")).unwrap();
        let sql = "SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC LIMIT 6";
        let mut statement = db.prepare(sql).unwrap();
        let parts = statement.query_map([], |row| {
            let (name, bytes): (String, i64) = (row.get(0)?, row.get(1)?);
            Ok(format!("{name} {:.0}", bytes as f64 / f64::from(records)))
        });
        let parts: Vec<_> = parts.unwrap().map(core::result::Result::unwrap).collect();
        parts.join(", ")
    }

    /// How many classes are in force, and how many there ever were.
    pub(crate) fn classes(&self) -> [usize; 2] {
        self.books.catalogue.count()
    }
}

impl Engine for House {
    fn turn(&mut self, ops: &[Op]) -> Turn {
        let Self {
            runtime,
            firm,
            books,
        } = self;
        let sessions = Sessions::of(firm);
        // Each session is admitted once, durably, over the declared set of persons, before its
        // operations: that is not in their time.
        let permits = runtime.block_on(Permits::of(&sessions, firm, ops));
        Turn::of(ops, |op| {
            let done = runtime.block_on(firm.done(op, books, &permits));
            match done {
                Ok(answer) => answer,
                Err(Error::Refused(refusal)) => Answer::refused(refusal.code()),
                Err(error) => panic!("{error}"),
            }
        })
    }

    fn expire(&mut self, second: u32) -> u64 {
        let Self {
            runtime,
            firm,
            books,
        } = self;
        firm.clock.set(firm.clock_at(second));
        books.second = second;
        let sessions = Sessions::of(firm);
        runtime.block_on(async {
            let permits = Permits::of(&sessions, firm, &[Op::Delete { number: 0 }]).await;
            let mut gone = 0;
            for class in books.catalogue.take_over(second) {
                gone += firm.empty(class, permits.destroy()).await.unwrap();
            }
            gone
        })
    }

    fn state(&mut self) -> Answer {
        let Self { runtime, firm, .. } = self;
        let sessions = Sessions::of(firm);
        runtime.block_on(async {
            let purpose = kta_core::policy::Purpose::Compliance;
            let wanted = [Op::ReadData { number: 0, purpose }];
            let permits = Permits::of(&sessions, firm, &wanted).await;
            let mut answer = Answer::default();
            for person in &firm.people {
                let records = firm.of_person(*person, None).await.unwrap();
                let permit = permits.open(purpose);
                let opened = firm.sealer.open_all(&records, permit).await.unwrap();
                for (record, fields) in records.iter().zip(&opened) {
                    let data = mark(number_of(record), firm.text(fields, permit).as_bytes());
                    let meta = firm.meta(record).await.unwrap();
                    answer.row(mix(data, meta.mark()));
                }
            }
            answer
        })
    }

    fn bytes(&mut self) -> [u64; 2] {
        self.runtime.block_on(self.firm.store.checkpoint()).unwrap();
        let size = |name: &str| {
            std::fs::metadata(self.firm.folder.join(name)).map_or(0, |file| file.len())
        };
        let all = ["store.db", "keys.db", "keys.db-wal", "keyring"];
        let db = Connection::open(self.firm.folder.join("store.db")).unwrap();
        let log = "SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE name = 'entry' OR name GLOB 'trail*' OR name GLOB '*_trail_page_*'";
        let log: i64 = db.query_row(log, [], |row| row.get(0)).unwrap();
        [all.into_iter().map(size).sum(), log.cast_unsigned()]
    }
}
