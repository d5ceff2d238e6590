//! Tables of earlier versions are carried over to the present one.

use kta_core::conformance::store::Samples;
use kta_storage::{PgOwner, PgStore};

use crate::common::classes;
use crate::common::cluster::{Cluster, admin};

/// Version 2 had a row of its class for each time that one was in force, and in each row what
/// governs it. Two firms are in the tables, walled off from each other and from their owner.
#[tokio::test]
async fn tables_of_version_2_keep_what_governs_their_records() {
    let cluster = Cluster::shared();
    let base = format!("version_2_{}", std::process::id());
    let firms = ["ours", "theirs"].map(Samples::of);
    version_2(&cluster, &base, &firms).await;

    let owner = PgOwner::new(&cluster.options("kta_owner", &base)).unwrap();
    owner.migrate("kta_app").await.unwrap();
    let store = PgStore::open(&cluster.options("kta_app", &base))
        .await
        .unwrap();
    for rows in &firms {
        classes::are_as_they_were(&store, rows).await;
    }
}

/// Version 3 had no name for the store. Each database gets one, which stays, and which nobody but
/// the owner gives.
#[tokio::test]
async fn tables_of_version_3_get_a_name_for_good() {
    let cluster = Cluster::shared();
    let mut names = Vec::new();
    for which in ["ours", "theirs"] {
        let base = format!("version_3_{which}_{}", std::process::id());
        cluster.database(&base);
        let admin = cluster.admin(&base).await;
        let back = "DELETE FROM kta.migration WHERE version >= 4;
            ALTER TABLE kta.migration DROP COLUMN store";
        admin.batch_execute(back).await.unwrap();
        let options = cluster.options("kta_app", &base);
        assert!(PgStore::open(&options).await.is_err(), "of another version");
        let owner = PgOwner::new(&cluster.options("kta_owner", &base)).unwrap();
        for _ in 0..2 {
            owner.migrate("kta_app").await.unwrap();
            PgStore::open(&options).await.unwrap();
            let name = "SELECT store::text FROM kta.migration WHERE store IS NOT NULL";
            names.push(
                admin
                    .query_one(name, &[])
                    .await
                    .unwrap()
                    .get::<_, String>(0),
            );
        }
        let application = crate::common::cluster::admin(&cluster.url("kta_app", &base)).await;
        let change = "UPDATE kta.migration SET store = gen_random_uuid()";
        application.batch_execute(change).await.unwrap_err();
    }
    assert!(names[0] == names[1] && names[2] == names[3] && names[0] != names[2]);
}

/// A database as version 2 left it.
async fn version_2(cluster: &Cluster, base: &str, firms: &[Samples]) {
    let superuser = cluster.admin("postgres").await;
    for make in [
        format!("CREATE DATABASE {base}"),
        format!("GRANT CREATE ON DATABASE {base} TO kta_owner"),
    ] {
        superuser.batch_execute(&make).await.unwrap();
    }
    let owner = admin(&cluster.url("kta_owner", base)).await;
    for made in [
        "CREATE SCHEMA kta;
         CREATE TABLE kta.migration (version int4 PRIMARY KEY, made_by text NOT NULL);
         INSERT INTO kta.migration VALUES (1, 'a test'), (2, 'a test')",
        include_str!("../../src/postgres/schema.sql"),
        include_str!("../../src/postgres/journal.sql"),
        // With no policy beside it such a wall lets nobody see a row.
        "ALTER TABLE kta.admits ENABLE ROW LEVEL SECURITY;
         ALTER TABLE kta.admits FORCE ROW LEVEL SECURITY;
         ALTER TABLE kta.class ENABLE ROW LEVEL SECURITY;
         ALTER TABLE kta.class FORCE ROW LEVEL SECURITY;
         ALTER TABLE kta.record ENABLE ROW LEVEL SECURITY;
         ALTER TABLE kta.record FORCE ROW LEVEL SECURITY",
    ] {
        owner.batch_execute(made).await.unwrap();
    }
    let superuser = cluster.admin(base).await;
    for rows in firms {
        let tenant = hex(rows.tenant.as_bytes());
        let ids = [1, 2, 3].map(|number| rows.class_of(number).id());
        let [first, second, other] = ids.map(|id| format!("'\\x{id}'"));
        // What happened before, `are_as_they_were` says.
        let mut sql = format!(
            "INSERT INTO kta.firm (tenant) VALUES ('{tenant}');
             INSERT INTO kta.class (tenant, no, id, governing) VALUES
                ('{tenant}', 1, {first}, {second}), ('{tenant}', 2, {second}, {second}),
                ('{tenant}', 3, {other}, {second}), ('{tenant}', 4, {first}, {first});
             INSERT INTO kta.admits VALUES ('{tenant}', 'filing', {first}),
                ('{tenant}', 'representation', {first});"
        );
        for (record, class) in [(1, 1), (2, 2), (3, 4)] {
            let key = rows.key(1, record);
            let [subject, record] = [key.subject.as_bytes(), key.record.as_bytes()].map(hex);
            sql += &format!(
                "INSERT INTO kta.record VALUES ('{tenant}', '{subject}', '{record}', NULL, 1,
                 'person.v1', {class}, '\\x01', '\\x0100');"
            );
        }
        superuser.batch_execute(&sql).await.unwrap();
    }
}

fn hex(id: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*id))
}
