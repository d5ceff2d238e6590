//! What a firm that is moved between databases is compared by, beside what the ports list.

use kta_core::conformance::store::Samples;
use kta_core::id::Digest;
use kta_core::ports::Store as _;
use kta_core::ports::store::Expected;
use kta_storage::{PgStore, Shard as _};

use crate::common::cluster::{Cluster, admin};
use crate::walls::as_firm;

#[tokio::test]
async fn a_lost_tag_another_class_and_another_byte_of_a_record_show() {
    let cluster = Cluster::shared();
    let options = cluster.options("kta_app", "kta");
    let store = PgStore::open(&options).await.unwrap();
    let (rows, other) = (Samples::of("moved whole"), Samples::of("somebody else"));
    for rows in [&rows, &other] {
        let mut set = rows.set(0);
        // More than are read together.
        for (subject, record) in (0..4).flat_map(|it| (0..100).map(move |record| (it, record))) {
            set = set.with(rows.put(subject, record, 1, &[record], Expected::Absent));
        }
        store.commit(set).await.unwrap();
    }
    let told = async || store.unlisted(rows.tenant).await.unwrap().unwrap();
    let whole: Digest = told().await;
    assert_eq!(told().await, whole);
    let others = store.unlisted(other.tenant).await.unwrap().unwrap();

    let client = admin(&cluster.url("kta_app", "kta")).await;
    let last = |table: &str| {
        format!("(SELECT ctid FROM kta.{table} ORDER BY subject DESC, record DESC LIMIT 1)")
    };
    for damage in [
        format!("DELETE FROM kta.tag WHERE ctid = {}", last("tag")),
        format!(
            "UPDATE kta.record SET header = header || '\\x00' WHERE ctid = {}",
            last("record")
        ),
        "UPDATE kta.class SET admits = admits # 1".to_owned(),
        "UPDATE kta.reign SET governing = sha256(governing)".to_owned(),
    ] {
        as_firm(&client, &rows).await;
        assert!(client.execute(&damage, &[]).await.unwrap() > 0, "{damage}");
        client.batch_execute("COMMIT").await.unwrap();
        let damaged = told().await;
        assert_ne!(damaged, whole, "{damage}");
        let others_now = store.unlisted(other.tenant).await.unwrap().unwrap();
        assert_eq!(others_now, others, "{damage}");
    }
}
