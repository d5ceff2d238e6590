//! What a store that was carried over from earlier tables must still know of its classes.

use kta_core::conformance::store::Samples;
use kta_core::policy::Purpose;
use kta_core::ports::store::{ChangeSet, Expected, RecordBy, RecordQuery, Store};

/// The second class took over from the first, and from the third, under which nothing was ever
/// written; then the first was put in force again, and the third record written under it. Only the
/// first has purposes.
pub async fn are_as_they_were(store: &dyn Store, rows: &Samples) {
    let [first, second, other] = [1, 2, 3].map(|number| rows.class_of(number).id());
    let governed = async |class| {
        let query = RecordQuery::all(rows.tenant, RecordBy::Class(class));
        let records = store.records(&query).await.unwrap();
        let each = records.iter().map(|record| {
            assert_eq!(record.class, class);
            record.key.record.as_bytes()[0]
        });
        each.collect::<Vec<u8>>()
    };
    let filing = async || {
        let query = RecordQuery::all(rows.tenant, RecordBy::Purpose(Purpose::Filing));
        store.records(&query).await.unwrap().len()
    };
    assert_eq!(governed(second).await, [1, 2]);
    assert_eq!(governed(first).await, [3]);
    assert!(governed(other).await.is_empty());
    assert_eq!(filing().await, 1);
    // What each means for what is written now.
    let under = |number, record| {
        let class = rows.class_of(number);
        rows.put_under(&class, 1, record, 1, Expected::Absent)
    };
    let set = [under(1, 4), under(2, 5), under(3, 6)];
    let set = set.into_iter().fold(rows.set(0), ChangeSet::with);
    store.commit(set).await.unwrap();
    assert_eq!(governed(second).await, [1, 2, 5, 6]);
    assert_eq!(governed(first).await, [3, 4]);
    assert_eq!(filing().await, 2);
}
