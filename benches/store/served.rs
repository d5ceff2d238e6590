//! Ours on PostgreSQL against plain PostgreSQL: one server, asked by one kind of client.

use std::cell::RefCell;
use std::hint::black_box;

use kta_core::policy::{Act, Grain};
use kta_storage::{PgOptions, PgOwner, PgStore};
use secrecy::SecretString;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls};

use crate::figures::{Figures, Race, sized, target};
use crate::firm::Firm;
use crate::postgres::Server;
use crate::read::read;
use crate::values::{COLUMNS, at_random, key, of};

/// Both read by id over the Unix socket with named statements, one after the other.
pub(crate) fn measure(figures: &mut Figures, grain: Grain) {
    let people = sized(20_000, 2_000);
    let server = match Server::start(0, "") {
        Ok(server) => server,
        Err(why) => return figures.remark(format!("no figure on PostgreSQL: {why}")),
    };
    let folder = tempfile::tempdir_in(target()).unwrap();
    let runtime = crate::runtime();
    let (plain, firm) = runtime.block_on(async {
        let plain = Plain::create(&server, people).await;
        let owner = PgOwner::new(&options(&server, "kta_owner")).unwrap();
        owner.migrate("kta_app").await.unwrap();
        let served = options(&server, "kta_app").named_statements();
        let store = PgStore::open(&served.journal(folder.path())).await;
        let firm = Firm::over(store.unwrap(), folder.path(), people, grain).await;
        firm.pour(people, people).await;
        (plain, firm)
    });
    let session = firm.session();
    let permits = runtime.block_on(firm.permits(&session, Act::Open, 0..people, people));
    let next = RefCell::new(at_random(people, 7));
    let mut ours = || read(&runtime, &firm, &permits, BATCH, &mut *next.borrow_mut());
    let mut peer = || {
        runtime.block_on(async {
            for _ in 0..BATCH {
                let who = next.borrow_mut()();
                black_box(plain.get(who).await);
            }
        });
    };
    let race = Race::run(sized(31, 7), [&mut ours, &mut peer]);
    figures.at_least(
        &format!(
            "{}: get by id, bounded, ours on PostgreSQL ÷ plain PostgreSQL, one reader",
            firm.sealed()
        ),
        1.0 / race.ratio(0, 1),
        "of its throughput",
        0.8,
    );
    let each = |contestant| race.seconds(contestant) / f64::from(BATCH) * 1e6;
    figures.remark(format!(
        "on PostgreSQL a read with its entry takes {:.0} µs, plain {:.0} µs; the entry is noted on the client's disk, and the carrying of it into the server's log, many at a time, is in the time too",
        each(0),
        each(1),
    ));
}

fn options(server: &Server, role: &str) -> PgOptions {
    let words = format!("host={} user={role} dbname=firm", server.socket());
    PgOptions::new(&SecretString::from(words)).unwrap()
}

/// The peer's rows: the same values in ten columns.
struct Plain {
    client: Client,
    select: tokio_postgres::Statement,
}

impl Plain {
    async fn create(server: &Server, people: usize) -> Self {
        let admin = connect(server, "postgres").await;
        for statement in [
            "CREATE ROLE kta_owner LOGIN",
            "CREATE ROLE kta_app LOGIN",
            "CREATE DATABASE firm OWNER kta_owner",
            "CREATE DATABASE plain",
        ] {
            admin.batch_execute(statement).await.unwrap();
        }
        let client = connect(server, "plain").await;
        let columns = COLUMNS.replace(',', " text NOT NULL,");
        let table = format!("CREATE TABLE person (id bytea PRIMARY KEY, {columns} text NOT NULL)");
        client.batch_execute(&table).await.unwrap();
        let insert = "INSERT INTO person VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
        let insert = client.prepare(insert).await.unwrap();
        client.batch_execute("BEGIN").await.unwrap();
        for number in 0..people {
            let (key, values) = (key(number), of(number));
            let mut row: Vec<&(dyn ToSql + Sync)> = Vec::new();
            let key = key.as_slice();
            row.push(&key);
            row.extend(values.iter().map(|value| value as &(dyn ToSql + Sync)));
            client.execute(&insert, &row).await.unwrap();
        }
        client
            .batch_execute("COMMIT; ANALYZE person")
            .await
            .unwrap();
        let select = format!("SELECT {COLUMNS} FROM person WHERE id = $1");
        let select = client.prepare(&select).await.unwrap();
        Self { client, select }
    }

    async fn get(&self, number: usize) -> [String; 10] {
        let key = key(number);
        let key = key.as_slice();
        let row = self.client.query_one(&self.select, &[&key]).await.unwrap();
        core::array::from_fn(|at| row.get(at))
    }
}

async fn connect(server: &Server, base: &str) -> Client {
    let words = format!("host={} user=bench dbname={base}", server.socket());
    let (client, connection) = tokio_postgres::connect(&words, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Reads in one go of the runtime.
const BATCH: u32 = 32;
