//! What keeps firms apart, the log as it is, and strangers out.

use kta_core::conformance::store::Samples;
use kta_core::policy::Purpose;
use kta_core::ports::store::{
    Change, Expected, PlacementQuery, RecordBy, RecordQuery, Register, SheetQuery,
};
use kta_core::ports::{Jobs as _, Ledger as _, Store as _};
use kta_core::{Error, FaultKind};
use kta_storage::{PgOptions, PgOwner, PgStore};
use secrecy::SecretString;
use tokio_postgres::Client;

use crate::common::cluster::{Cluster, PASSWORD, admin};

const TABLES: [&str; 10] = [
    "firm",
    "writer",
    "entry",
    "trail",
    "record",
    "tag",
    "placement",
    "hold",
    "sheet",
    "job",
];

#[tokio::test]
async fn a_statement_that_forgets_the_tenant_sees_nothing_of_another() {
    let cluster = Cluster::shared();
    let store = open(&cluster).await;
    let (ours, theirs) = (Samples::of("ours"), Samples::of("theirs"));
    for rows in [&ours, &theirs] {
        fill(&store, rows).await;
    }
    for role in ["kta_app", "kta_owner"] {
        let client = admin(&cluster.url(role, "kta")).await;
        for table in TABLES {
            let all = format!("SELECT count(*) FROM kta.{table}");
            assert_eq!(
                count(&client, &all).await,
                0,
                "{role} without a firm in {table}"
            );
            as_firm(&client, &ours).await;
            let others = format!("{all} WHERE tenant <> '{}'", hex(&ours));
            assert_eq!(count(&client, &others).await, 0, "{role} in {table}");
            assert!(count(&client, &all).await > 0, "{role} in {table}");
            client.batch_execute("COMMIT").await.unwrap();
        }
        // A removal that forgets the tenant takes away our own rows at most.
        as_firm(&client, &ours).await;
        let gone = client.execute("DELETE FROM kta.record", &[]).await.unwrap();
        assert_eq!(gone, 1);
        client.batch_execute("ROLLBACK").await.unwrap();
        // And what is written for another is refused.
        as_firm(&client, &ours).await;
        let sql = format!(
            "INSERT INTO kta.entry VALUES ('{}', 9, 'forged')",
            hex(&theirs)
        );
        assert_eq!(refused(&client, &sql).await, "42501");
        client.batch_execute("ROLLBACK").await.unwrap();
    }
    assert!(store.record(&theirs.key(1, 1)).await.unwrap().is_some());
}

#[tokio::test]
async fn the_application_can_neither_change_nor_remove_an_entry() {
    let cluster = Cluster::shared();
    let rows = Samples::of("append only");
    fill(&open(&cluster).await, &rows).await;
    let client = admin(&cluster.url("kta_app", "kta")).await;
    for sql in [
        "UPDATE kta.entry SET bytes = 'forged'",
        "DELETE FROM kta.entry",
        "TRUNCATE kta.entry",
        "UPDATE kta.trail SET at = 0",
        "DELETE FROM kta.trail",
        "UPDATE kta.firm SET tenant = gen_random_uuid()",
        "DELETE FROM kta.firm",
        "DELETE FROM kta.hold",
        "ALTER TABLE kta.entry DISABLE ROW LEVEL SECURITY",
        "DROP POLICY tenant_alone ON kta.entry",
        "DROP TABLE kta.trail",
        "DELETE FROM kta_keys.tombstone",
        "TRUNCATE kta_keys.tombstone",
        "CREATE TABLE kta.mine (one int)",
        "SET ROLE kta_owner",
    ] {
        as_firm(&client, &rows).await;
        assert_eq!(refused(&client, sql).await, "42501", "{sql}");
        client.batch_execute("ROLLBACK").await.unwrap();
    }
}

#[tokio::test]
async fn a_role_that_could_see_or_change_more_is_refused() {
    let cluster = Cluster::shared();
    let admin = cluster.admin("kta").await;
    let own = std::process::id();
    let (wide, writing) = (format!("wide_{own}"), format!("writing_{own}"));
    for sql in [
        format!("CREATE ROLE {wide} LOGIN BYPASSRLS IN ROLE kta_app PASSWORD '{PASSWORD}'"),
        format!("CREATE ROLE {writing} LOGIN IN ROLE kta_app PASSWORD '{PASSWORD}'"),
        format!("GRANT DELETE ON kta.trail TO {writing}"),
    ] {
        admin.batch_execute(&sql).await.unwrap();
    }
    for (role, detail) in [
        ("postgres", "the role passes over row security"),
        (&wide, "the role passes over row security"),
        ("kta_owner", "the role owns the tables"),
        (&writing, "the role can change the log"),
    ] {
        let error = PgStore::open(&cluster.options(role, "kta"))
            .await
            .unwrap_err();
        assert_eq!(misconfigured(&error), detail, "{role}");
    }
    for sql in [
        format!("REVOKE ALL ON kta.trail FROM {writing}"),
        format!("DROP ROLE {wide}, {writing}"),
    ] {
        admin.batch_execute(&sql).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_does_not_synchronise_its_files_is_refused() {
    let cluster = Cluster::own("unsynced");
    let options = cluster.options("kta_app", "kta");
    PgStore::open(&options).await.unwrap();
    let admin = cluster.admin("kta").await;
    let settings = "ALTER SYSTEM SET fsync = off";
    admin.batch_execute(settings).await.unwrap();
    admin
        .batch_execute("SELECT pg_reload_conf()")
        .await
        .unwrap();
    // Told to the server's processes by a signal.
    let mut refused = None;
    for _ in 0..100 {
        refused = PgStore::open(&options).await.err();
        if refused.is_some() {
            break;
        }
        tokio::time::sleep(core::time::Duration::from_millis(20)).await;
    }
    assert_eq!(
        misconfigured(&refused.unwrap()),
        "the server does not synchronise its files (fsync is off)"
    );
}

#[tokio::test]
async fn strangers_and_tables_of_another_version_are_refused_without_a_word_of_the_password() {
    let cluster = Cluster::shared();
    let url = cluster
        .url("kta_app", "kta")
        .replace(PASSWORD, "CANARY-wrong");
    let wrong = PgOptions::new(&SecretString::from(url)).unwrap();
    let error = PgStore::open(&wrong).await.unwrap_err();
    assert_eq!(misconfigured(&error), "the server refuses the role");
    assert!(!format!("{error} {error:?} {wrong:?}").contains("CANARY"));

    let none = PgStore::open(&cluster.options("kta_app", "postgres")).await;
    assert_eq!(
        misconfigured(&none.unwrap_err()),
        "the tables are not there, or the role has no right to them"
    );
    let base = format!("newer_{}", std::process::id());
    cluster.database(&base);
    let admin = cluster.admin(&base).await;
    let newer = "INSERT INTO kta.migration VALUES (1000, 'a later kta-storage')";
    admin.batch_execute(newer).await.unwrap();
    let error = PgStore::open(&cluster.options("kta_app", &base))
        .await
        .unwrap_err();
    assert_eq!(misconfigured(&error), "the tables are of another version");
    let owner = PgOwner::new(&cluster.options("kta_owner", &base)).unwrap();
    let error = owner.migrate("kta_app").await.unwrap_err();
    assert_eq!(
        misconfigured(&error),
        "the tables were made by a newer version"
    );
    for name in ["kta_owner", "nobody\"; DROP SCHEMA kta", ""] {
        assert!(owner.migrate(name).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn every_key_and_index_begins_with_the_tenant_and_every_table_is_walled() {
    let cluster = Cluster::shared();
    let admin = cluster.admin("kta").await;
    for (schema, least) in [("kta", 15), ("kta_keys", 8)] {
        let indexes = format!(
            "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
             WHERE c.relnamespace = '{schema}'::regnamespace AND c.relname <> 'migration'"
        );
        let led = count(&admin, &format!("{indexes} AND a.attname = 'tenant'")).await;
        assert_eq!(led, count(&admin, &indexes).await, "{schema}");
        assert!(led >= least, "{schema}");
        let classes = format!(
            "SELECT count(*) FROM pg_class WHERE relnamespace = '{schema}'::regnamespace
             AND relname <> 'migration'"
        );
        for wrong in [
            "relkind = 'r' AND NOT (relrowsecurity AND relforcerowsecurity)",
            "relkind = 'S'",
        ] {
            assert_eq!(count(&admin, &format!("{classes} AND {wrong}")).await, 0);
        }
    }
}

/// The server itself writes down how it answers the store's own statements.
#[tokio::test]
async fn a_regulators_question_and_every_look_up_is_answered_by_an_index() {
    let cluster = Cluster::own("explained");
    let admin = cluster.admin("kta").await;
    let store = PgStore::open(&cluster.options("kta_app", "kta"))
        .await
        .unwrap();
    let rows = Samples::of("regulator");
    for number in 0..40_u8 {
        let mut set = rows
            .set(i64::from(number) * 10)
            .with(Change::Intern(rows.class()))
            .with(rows.put(number, number, 1, &[number], Expected::Absent))
            .with(Change::PutPlacement(rows.placement(
                number,
                number,
                "kta-store",
            )))
            .with(Change::File {
                sheet: rows.sheet(Register::Receipts, number, 1),
                expected: Expected::Absent,
            })
            .with(Change::Enqueue(rows.job(number, i64::from(number))));
        for event in 0..50_u8 {
            set = set.event(rows.event(Some(event)));
        }
        store.commit(set).await.unwrap();
    }
    drop(store);
    for sql in [
        "VACUUM ANALYZE",
        "ALTER DATABASE kta SET session_preload_libraries = 'auto_explain'",
        "ALTER DATABASE kta SET auto_explain.log_min_duration = 0",
        // So few rows are read faster as a whole; here it is about what is possible.
        "ALTER DATABASE kta SET enable_seqscan = off",
    ] {
        admin.batch_execute(sql).await.unwrap();
    }
    let store = PgStore::open(&cluster.options("kta_app", "kta"))
        .await
        .unwrap();
    let (from, to) = (rows.set(100).at, rows.set(200).at);
    let trail = store
        .trail(rows.tenant, rows.subject(7), from, to)
        .await
        .unwrap();
    assert_eq!(trail.len(), 11);
    assert!(trail.is_sorted());
    let (field, tag) = rows.tag(7);
    for by in [
        RecordBy::Matter(rows.matter(7)),
        RecordBy::Subject(rows.subject(7)),
        RecordBy::Tag(field, tag),
    ] {
        let query = RecordQuery::all(rows.tenant, by).page(None, 10);
        assert_eq!(store.records(&query).await.unwrap().len(), 1);
    }
    for by in [
        RecordBy::Class(rows.class().id()),
        RecordBy::Purpose(Purpose::Representation),
    ] {
        let query = RecordQuery::all(rows.tenant, by).page(Some(rows.key(7, 7).record), 5);
        assert_eq!(store.records(&query).await.unwrap().len(), 5);
    }
    assert!(store.record(&rows.key(7, 7)).await.unwrap().is_some());
    let of = PlacementQuery::of(rows.tenant, rows.subject(7));
    assert_eq!(store.placements(&of).await.unwrap().len(), 1);
    let name = rows.sheet(Register::Receipts, 7, 1).id;
    let named = SheetQuery::named(rows.tenant, Register::Receipts, name);
    assert_eq!(store.sheets(&named).await.unwrap().len(), 1);
    let leased = store
        .lease(rows.tenant, rows.set(5_000).at, rows.set(9_000).at, 3)
        .await;
    assert_eq!(leased.unwrap().len(), 3);
    assert_eq!(store.entries(rows.tenant, 100, 10).await.unwrap().len(), 10);

    let log = std::fs::read_to_string(cluster.log()).unwrap();
    let plans: Vec<_> = log
        .split("LOG:  duration")
        .filter(|it| it.contains("kta."))
        .collect();
    for (statement, index) in [
        ("FROM kta.trail", "trail_pkey"),
        ("WHERE r.tenant = $1 AND r.matter", "record_by_matter"),
        ("WHERE r.tenant = $1 AND r.subject", "record_pkey"),
        ("JOIN kta.tag t", "tag_pkey"),
        ("AND g.governing = $2", "record_by_cohort"),
        ("k.admits & $2", "record_by_cohort"),
        ("AND r.subject = $2 AND r.record = $3", "record_pkey"),
        ("SELECT body FROM kta.placement", "placement_pkey"),
        ("FROM kta.sheet WHERE", "sheet_pkey"),
        ("SKIP LOCKED", "job_ready"),
        ("FROM kta.entry e, start", "entry_pkey"),
    ] {
        let plan = plans
            .iter()
            .find(|plan| plan.contains(statement))
            .unwrap_or_else(|| panic!("no plan of {statement}"));
        assert!(plan.contains(index) && !plan.contains("Seq Scan"), "{plan}");
    }
    let trail = plans
        .iter()
        .find(|plan| plan.contains("FROM kta.trail"))
        .unwrap();
    assert!(!trail.contains("Sort"), "the index has the order: {trail}");
    // The person and the time lead into the index; nothing is filtered afterwards.
    let condition = trail
        .lines()
        .find(|line| line.contains("Index Cond"))
        .unwrap();
    for column in ["tenant", "subject", "at >=", "at <="] {
        assert!(condition.contains(column), "{trail}");
    }
}

#[tokio::test]
async fn tls_is_spoken_with_a_server_that_is_vouched_for_and_with_no_other() {
    let cluster = Cluster::shared();
    let name = format!("kta-tls-{}", std::process::id());
    let url = cluster
        .url("kta_app", "kta")
        .replace("127.0.0.1", "localhost");
    let url = format!("{url}?sslmode=require&application_name={name}");
    let options = PgOptions::new(&SecretString::from(url)).unwrap();
    let store = PgStore::open(&options.clone().roots(&cluster.root()).unwrap())
        .await
        .unwrap();
    let rows = Samples::of("tls");
    fill(&store, &rows).await;
    let admin = cluster.admin("kta").await;
    let sql = format!(
        "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
         WHERE application_name = '{name}' AND ssl"
    );
    assert!(count(&admin, &sql).await > 0);

    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let other = options.clone().roots(other.cert.pem().as_bytes()).unwrap();
    let error = PgStore::open(&other).await.unwrap_err();
    assert_eq!(
        misconfigured(&error),
        "the server's certificate is not accepted"
    );
    assert!(options.roots(b"no certificate").is_err());
}

#[tokio::test]
async fn a_log_that_does_not_end_where_its_firm_says_is_corrupt() {
    let cluster = Cluster::shared();
    let store = open(&cluster).await;
    let rows = Samples::of("cut");
    fill(&store, &rows).await;
    let admin = cluster.admin("kta").await;
    let cut = format!("DELETE FROM kta.entry WHERE tenant = '{}'", hex(&rows));
    admin.batch_execute(&cut).await.unwrap();
    let error = store
        .commit(rows.set(1).event(rows.event(None)))
        .await
        .unwrap_err();
    let fault = error.fault().unwrap();
    assert_eq!(fault.kind(), FaultKind::Corrupt);
    assert_eq!(
        fault.detail(),
        Some("the log does not end where its firm says")
    );
}

#[tokio::test]
async fn the_lag_of_a_bounded_commit_is_what_the_server_says() {
    let store = open(&Cluster::shared()).await;
    assert_eq!(store.lag(), core::time::Duration::from_millis(600));
}

async fn open(cluster: &Cluster) -> PgStore {
    PgStore::open(&cluster.options("kta_app", "kta"))
        .await
        .unwrap()
}

/// A row in each table.
async fn fill(store: &PgStore, rows: &Samples) {
    let set = rows
        .set(0)
        .with(rows.put(1, 1, 1, &[1], Expected::Absent))
        .with(Change::PutPlacement(rows.placement(1, 1, "kta-store")))
        .with(Change::PlaceHold(rows.hold(1, Some(2), None)))
        .with(Change::File {
            sheet: rows.sheet(Register::Matters, 1, 1),
            expected: Expected::Absent,
        })
        .with(Change::Enqueue(rows.job(1, 0)))
        .event(rows.event(Some(1)));
    store.commit(set).await.unwrap();
}

pub(crate) async fn as_firm(client: &Client, rows: &Samples) {
    let sql = format!(
        "BEGIN; SELECT set_config('kta.tenant', '{}', true)",
        hex(rows)
    );
    client.batch_execute(&sql).await.unwrap();
}

pub(crate) fn hex(rows: &Samples) -> String {
    format!("{:032x}", u128::from_be_bytes(*rows.tenant.as_bytes()))
}

async fn count(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

async fn refused(client: &Client, sql: &str) -> String {
    let error = client.batch_execute(sql).await.unwrap_err();
    error.code().unwrap().code().to_owned()
}

#[track_caller]
fn misconfigured(error: &Error) -> &'static str {
    let fault = error.fault().unwrap();
    assert_eq!(fault.kind(), FaultKind::Misconfigured, "{error}");
    fault.detail().unwrap()
}
