//! The other contestants: one table in SQLite, with an index on every column of metadata or with
//! none. They know no access control, no sealing and no audit log; the log they are asked to read
//! is a plain table that was filled beforehand.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::engine::{Engine, Turn};
use crate::generate::{Field, Meta, Op, Set, data, mark, mix};
use crate::model::Answer;

pub(crate) struct Plain {
    db: Connection,
    path: PathBuf,
    users: u32,
    second: u32,
}

impl Plain {
    pub(crate) fn open(folder: &Path, indexed: bool, records: u32, users: u32) -> Self {
        let path = folder.join(if indexed { "indexed.db" } else { "bare.db" });
        let db = Connection::open(&path).unwrap();
        db.pragma_update(None, "journal_mode", "WAL").unwrap();
        db.pragma_update(None, "synchronous", "NORMAL").unwrap();
        db.pragma_update(None, "cache_size", -64 * 1024).unwrap();
        db.set_prepared_statement_cache_capacity(128);
        db.execute_batch(
            "CREATE TABLE record (key TEXT PRIMARY KEY, pur TEXT, ttl INTEGER, usr TEXT, obj TEXT,
                dec TEXT, acl TEXT, shr TEXT, src TEXT, cat TEXT, data TEXT);
             CREATE TABLE log (seq INTEGER PRIMARY KEY, line TEXT);",
        )
        .unwrap();
        if indexed {
            for column in COLUMNS {
                let sql = format!("CREATE INDEX by_{column} ON record ({column})");
                db.execute_batch(&sql).unwrap();
            }
        }
        let plain = Self {
            db,
            path,
            users,
            second: 0,
        };
        for start in (0..records).step_by(BATCH as usize) {
            plain.db.execute_batch("BEGIN").unwrap();
            for number in start..records.min(start + BATCH) {
                plain.insert(number);
                plain
                    .db
                    .prepare_cached("INSERT INTO log (line) VALUES (?1)")
                    .unwrap()
                    .execute([format!(
                        "controller created key{number} for the house, admitted by nobody, {}",
                        data(number, 9)
                    )])
                    .unwrap();
            }
            plain.db.execute_batch("COMMIT").unwrap();
        }
        plain
    }

    fn insert(&self, number: u32) {
        let meta = Meta::of(number, self.second);
        self.db
            .prepare_cached(
                "INSERT INTO record VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )
            .unwrap()
            .execute(params![
                key(number),
                format!("purpose{}", meta.purposes),
                meta.until,
                format!("user{}", number % self.users),
                format!("objection{}", meta.objection),
                format!("decision{}", meta.decision),
                format!("acl{}", meta.access),
                format!("shared{}", meta.shared),
                format!("source{}", meta.source),
                format!("category{}", meta.category),
                data(number, 0),
            ])
            .unwrap();
    }

    fn read(&self, condition: &str, value: &str, each: fn(&mut Answer, &Read)) -> Answer {
        let sql = format!("SELECT * FROM record WHERE {condition} = ?1");
        let mut statement = self.db.prepare_cached(&sql).unwrap();
        let mut answer = Answer::default();
        for row in statement.query_map([value], Read::of).unwrap() {
            each(&mut answer, &row.unwrap());
        }
        answer
    }

    fn update(&self, set: Set, condition: &str, value: &str) -> Answer {
        let meta = Meta::of(0, 0).with(set, self.second);
        let sql = format!(
            "UPDATE record SET {} = ?1 WHERE {condition} = ?2",
            column(set.field)
        );
        let mut statement = self.db.prepare_cached(&sql).unwrap();
        let rows = match set.field {
            Field::Until => statement.execute(params![meta.until, value]),
            Field::Objection => statement.execute([&format!("objection{}", meta.objection), value]),
            Field::Decision => statement.execute([&format!("decision{}", meta.decision), value]),
            Field::Access => statement.execute([&format!("acl{}", meta.access), value]),
            Field::Shared => statement.execute([&format!("shared{}", meta.shared), value]),
            Field::Source => statement.execute([&format!("source{}", meta.source), value]),
            Field::Category => statement.execute([&format!("category{}", meta.category), value]),
        };
        Answer::rows(rows.unwrap() as u64)
    }

    fn delete(&self, number: u32) -> Answer {
        let mut statement = self
            .db
            .prepare_cached("DELETE FROM record WHERE key = ?1")
            .unwrap();
        Answer::rows(statement.execute([key(number)]).unwrap() as u64)
    }
}

impl Engine for Plain {
    fn turn(&mut self, ops: &[Op]) -> Turn {
        Turn::of(ops, |op| match op {
            Op::Create { number } => {
                self.insert(number);
                Answer::rows(1)
            }
            Op::Delete { number } => self.delete(number),
            Op::ReadData { number, purpose: _ } => self.read("key", &key(number), Read::data),
            Op::ReadDataByPurpose {
                purposes,
                purpose: _,
            } => self.read("pur", &format!("purpose{purposes}"), Read::data),
            Op::ReadDataByUser { user, purpose: _ } => {
                self.read("usr", &format!("user{user}"), Read::data)
            }
            Op::ReadMetaByUser { user } => self.read("usr", &format!("user{user}"), Read::meta),
            Op::UpdateData { number, version } => {
                let sql = "UPDATE record SET data = ?1 WHERE key = ?2";
                let mut statement = self.db.prepare_cached(sql).unwrap();
                let rows = statement.execute([data(number, version), key(number)]);
                Answer::rows(rows.unwrap() as u64)
            }
            Op::UpdateMeta { number, set } => self.update(set, "key", &key(number)),
            Op::UpdateMetaByPurpose { purposes, set } => {
                self.update(set, "pur", &format!("purpose{purposes}"))
            }
            Op::UpdateMetaByUser { user, set } => self.update(set, "usr", &format!("user{user}")),
            Op::ReadLog { lines } => {
                let sql = "SELECT line FROM log ORDER BY seq DESC LIMIT ?1";
                let mut statement = self.db.prepare_cached(sql).unwrap();
                let lines = statement
                    .query_map([lines], |row| row.get::<_, String>(0))
                    .unwrap();
                let bytes: Vec<String> = lines.map(Result::unwrap).collect();
                Answer::rows(bytes.iter().filter(|line| !line.is_empty()).count() as u64)
            }
            Op::VerifyDeletion { number } => {
                let sql = "SELECT 1 FROM record WHERE key = ?1";
                let mut statement = self.db.prepare_cached(sql).unwrap();
                let found: Option<i64> = statement
                    .query_row([key(number)], |row| row.get(0))
                    .optional()
                    .unwrap();
                Answer::rows(u64::from(found.is_none()))
            }
        })
    }

    fn expire(&mut self, second: u32) -> u64 {
        self.second = second;
        let sql = "DELETE FROM record WHERE ttl <= ?1";
        self.db.execute(sql, [second]).unwrap() as u64
    }

    fn state(&mut self) -> Answer {
        let mut answer = Answer::default();
        let mut statement = self.db.prepare("SELECT * FROM record").unwrap();
        for row in statement.query_map([], Read::of).unwrap() {
            let row = row.unwrap();
            answer.row(mix(
                mark(row.number(), row.data.as_bytes()),
                row.meta_mark(),
            ));
        }
        answer
    }

    fn bytes(&mut self) -> [u64; 2] {
        let () = self
            .db
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .unwrap();
        let log = "SELECT sum(pgsize) FROM dbstat WHERE name = 'log'";
        let log: i64 = self.db.query_row(log, [], |row| row.get(0)).unwrap();
        let all = std::fs::metadata(&self.path).unwrap().len();
        [all, log.cast_unsigned()]
    }
}

/// A whole row, as a reader takes it.
struct Read {
    key: String,
    texts: [String; 8],
    until: u32,
    data: String,
}

impl Read {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        let text = |column| row.get::<_, String>(column);
        Ok(Self {
            key: text(0)?,
            until: row.get(2)?,
            texts: [
                text(1)?,
                text(3)?,
                text(4)?,
                text(5)?,
                text(6)?,
                text(7)?,
                text(8)?,
                text(9)?,
            ],
            data: text(10)?,
        })
    }

    fn number(&self) -> u32 {
        tail(&self.key)
    }

    fn data(answer: &mut Answer, row: &Self) {
        answer.row(mark(row.number(), row.data.as_bytes()));
    }

    fn meta(answer: &mut Answer, row: &Self) {
        answer.row(mix(u64::from(row.number()), row.meta_mark()));
    }

    fn meta_mark(&self) -> u64 {
        let at = |column: usize| tail(&self.texts[column]) as u8;
        let meta = Meta {
            purposes: at(0),
            until: self.until,
            objection: at(2),
            decision: at(3),
            access: at(4),
            shared: at(5),
            source: at(6),
            category: at(7),
        };
        meta.mark()
    }
}

fn key(number: u32) -> String {
    format!("key{number}")
}

fn tail(text: &str) -> u32 {
    let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.parse().unwrap()
}

const fn column(field: Field) -> &'static str {
    match field {
        Field::Until => "ttl",
        Field::Objection => "obj",
        Field::Decision => "dec",
        Field::Access => "acl",
        Field::Shared => "shr",
        Field::Source => "src",
        Field::Category => "cat",
    }
}

const COLUMNS: [&str; 9] = [
    "pur", "ttl", "usr", "obj", "dec", "acl", "shr", "src", "cat",
];

const BATCH: u32 = 1000;
