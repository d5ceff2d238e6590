//! What goes away, and where it stays meanwhile: recycle bins, holds and earlier versions, through
//! SharePoint REST.

use super::*;

#[tokio::test]
async fn sharepoint_rest_can_insist_on_certificates() {
    let mut options = Options::default();
    options.certificate_only_rest = true;
    let emulator = Emulator::start(options).await.unwrap();
    let token = rest_token(&emulator).await;
    assert_eq!(
        rest(&emulator, &token, "GET", "web/RecycleBin")
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn a_deleted_file_waits_93_days_in_the_bin_with_all_its_versions() {
    let emulator = started().await;
    let file = id(&put(&emulator, "gone.bin", CANARY).await);
    put(&emulator, "gone.bin", b"later").await;
    assert_eq!(
        item(&emulator, "DELETE", &file, "", Value::Null)
            .await
            .status,
        204
    );
    assert_eq!(emulator.holdings(&file).bin_first.len(), 2);
    emulator.advance(TimeDelta::days(92));
    assert_eq!(emulator.places_of(CANARY).len(), 1);
    emulator.advance(TimeDelta::days(2));
    assert!(emulator.holdings(&file).is_empty());
}

#[tokio::test]
async fn the_bin_is_emptied_entry_by_entry_through_sharepoint_rest() {
    let mut options = Options::default();
    options.bin_delete_moves_to_second_stage = true;
    let emulator = Emulator::start(options).await.unwrap();
    let token = rest_token(&emulator).await;
    let file = id(&put(&emulator, "gone.bin", CANARY).await);
    let kept = id(&put(&emulator, "other.bin", b"other").await);
    item(&emulator, "DELETE", &file, "", Value::Null).await;
    item(&emulator, "DELETE", &kept, "", Value::Null).await;
    let listed = rest(&emulator, &token, "GET", "web/RecycleBin")
        .await
        .json();
    let entry = listed["value"]
        .as_array()
        .unwrap()
        .iter()
        .find(|e| e["LeafName"] == "gone.bin");
    let entry = entry.unwrap()["Id"].as_str().unwrap().to_owned();
    let delete = format!("web/RecycleBin('{entry}')/DeleteObject()");
    assert_eq!(rest(&emulator, &token, "POST", &delete).await.status, 200);
    assert_eq!(emulator.holdings(&file).bin_second.len(), 1);
    let second = "site/RecycleBin?$filter=ItemState%20eq%202";
    let listed = rest(&emulator, &token, "GET", second).await.json();
    assert_eq!(listed["value"][0]["Id"], entry.as_str());
    let delete = format!("site/RecycleBin('{entry}')/DeleteObject()");
    assert_eq!(rest(&emulator, &token, "POST", &delete).await.status, 200);
    assert!(emulator.holdings(&file).is_empty());
    assert!(!emulator.holdings(&kept).is_empty());
}

#[tokio::test]
async fn a_hold_keeps_what_permanent_deletion_takes_and_lets_go_in_its_own_time() {
    let emulator = started().await;
    let file = id(&put(&emulator, "held.bin", CANARY).await);
    emulator.set_hold(true);
    let answer = item(&emulator, "POST", &file, "/permanentDelete", Value::Null).await;
    assert_eq!(answer.status, 204);
    assert_eq!(emulator.holdings(&file).held.len(), 1);
    let token = rest_token(&emulator).await;
    let library = "web/lists/GetByTitle('Preservation%20Hold%20Library')/items";
    let listed = rest(&emulator, &token, "GET", library).await.json();
    assert!(
        listed["value"][0]["FileLeafRef"]
            .as_str()
            .unwrap()
            .starts_with("held_")
    );
    emulator.set_hold(false);
    emulator.advance(TimeDelta::days(38));
    assert_eq!(emulator.holdings(&file).bin_second.len(), 1);
    emulator.advance(TimeDelta::days(93));
    assert!(emulator.holdings(&file).is_empty());
}

#[tokio::test]
async fn earlier_versions_go_only_through_sharepoint_rest() {
    let emulator = started().await;
    let file = id(&put(&emulator, "v.bin", b"one").await);
    put(&emulator, "v.bin", b"two").await;
    put(&emulator, "v.bin", b"three").await;
    let refused = item(&emulator, "DELETE", &file, "/versions/1.0", Value::Null).await;
    assert_eq!(refused.status, 405);
    let ids = item(
        &emulator,
        "GET",
        &file,
        "?$select=id,sharepointIds",
        Value::Null,
    )
    .await
    .json();
    let unique = ids["sharepointIds"]["listItemUniqueId"].as_str().unwrap();
    let token = rest_token(&emulator).await;
    let base = format!("web/GetFileById('{unique}')/versions");
    let answer = rest(
        &emulator,
        &token,
        "POST",
        &format!("{base}/DeleteByID(512)"),
    )
    .await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        emulator.holdings(&file).versions,
        vec![Bytes::from_static(b"two")]
    );
    let answer = rest(&emulator, &token, "POST", &format!("{base}/DeleteAll()")).await;
    assert_eq!(answer.status, 200);
    let left = emulator.holdings(&file);
    assert_eq!(
        (left.versions.len(), left.current.as_deref()),
        (0, Some(&b"three"[..]))
    );
}
