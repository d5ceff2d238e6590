//! The kit of [`Inventory`].

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::Desk;
use super::documents::{LibraryBench, put, remove};
use super::marks::{assert_unmarked, ended_permits_are_refused};
use super::papers::{content, document};
use crate::error::Result;
use crate::id::Digest;
use crate::pii::Locator;
use crate::policy::{Act, Role, Scope};
use crate::ports::crm::Cursor;
use crate::ports::documents::{Inventory, InventoryItem, InventoryPage};

conformance_cases! {$
    /// The contract of [`Inventory`](crate::ports::Inventory) as tests; `fresh` gives an
    /// [`InventoryBench`](crate::conformance::inventory::InventoryBench). See
    /// [`conformance`](crate::conformance).
    inventory_conformance = inventory:
    from_no_cursor_on_every_file_is_seen,
    an_item_says_what_the_library_says,
    later_pages_show_what_was_added_changed_and_deleted_since,
    nothing_new_is_an_empty_page,
    a_cursor_that_the_library_no_longer_knows_starts_over_and_says_so,
    only_a_permit_to_look_opens_the_inventory,
    a_page_tells_nothing_of_the_content,
}

/// A library that can be walked through.
#[async_trait]
pub trait InventoryBench: LibraryBench {
    /// The port, opened anew each time where the adapter keeps anything in memory.
    async fn inventory(&self) -> Arc<dyn Inventory>;

    /// Makes the library forget every cursor that it gave out so far, as libraries do at times.
    async fn forget_cursors(&self);
}

/// From no cursor on, every file is seen.
pub async fn from_no_cursor_on_every_file_is_seen(bench: &dyn InventoryBench) {
    let desk = Desk::new("inventory");
    let mut there = Vec::new();
    for number in 1..=7 {
        there.push(stored(bench, &desk, number, 1_000).await);
    }
    let (seen, _, restarted) = walk(bench, &desk, None).await;
    assert!(!restarted, "nothing was begun, so nothing is begun again");
    there.sort();
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), there);
}

/// An item says which document it is, how long, and the library's hash as far as it gives one.
pub async fn an_item_says_what_the_library_says(bench: &dyn InventoryBench) {
    let desk = Desk::new("inventory");
    let at = stored(bench, &desk, 1, 1_234).await;
    let (seen, ..) = walk(bench, &desk, None).await;
    let item = &seen[&at];
    let bytes = content(1_234, 1);
    assert_eq!(item.document, Some(document(&desk, 1, &bytes).id));
    assert_eq!((item.length, item.deleted), (Some(1_234), false));
    assert!(
        item.hash.is_none_or(|hash| hash == Digest::of(&bytes)),
        "a hash that is not the content's"
    );
}

/// Later pages show what was added, changed and deleted since, and nothing else.
pub async fn later_pages_show_what_was_added_changed_and_deleted_since(bench: &dyn InventoryBench) {
    let desk = Desk::new("inventory");
    let changed = stored(bench, &desk, 1, 1_000).await;
    let gone = stored(bench, &desk, 2, 1_000).await;
    let stays = stored(bench, &desk, 3, 1_000).await;
    let (_, cursor, _) = walk(bench, &desk, None).await;
    let longer = content(2_000, 9);
    put(bench, &desk, &document(&desk, 1, &longer), &longer, 10)
        .await
        .unwrap();
    remove(bench, &desk, &gone).await.unwrap();
    let added = stored(bench, &desk, 4, 1_000).await;
    let (seen, cursor, restarted) = walk(bench, &desk, Some(cursor)).await;
    assert!(!restarted);
    assert_eq!(
        (seen[&changed].deleted, seen[&changed].length),
        (false, Some(2_000))
    );
    assert!(seen[&gone].deleted);
    assert!(seen.contains_key(&added));
    assert!(!seen.contains_key(&stays));
    let (after, ..) = walk(bench, &desk, Some(cursor)).await;
    assert_eq!(after.len(), 0, "told once is told");
}

/// Where nothing happened since, there is nothing to see and no more to come.
pub async fn nothing_new_is_an_empty_page(bench: &dyn InventoryBench) {
    let desk = Desk::new("inventory");
    stored(bench, &desk, 1, 1_000).await;
    let (_, cursor, _) = walk(bench, &desk, None).await;
    let page = page(bench, &desk, Some(&cursor)).await.unwrap();
    assert!(page.items.is_empty() && !page.more && !page.restarted);
}

/// A cursor that the library no longer knows starts over from the beginning and says so.
pub async fn a_cursor_that_the_library_no_longer_knows_starts_over_and_says_so(
    bench: &dyn InventoryBench,
) {
    let desk = Desk::new("inventory");
    let one = stored(bench, &desk, 1, 1_000).await;
    let gone = stored(bench, &desk, 2, 1_000).await;
    let (_, cursor, _) = walk(bench, &desk, None).await;
    remove(bench, &desk, &gone).await.unwrap();
    bench.forget_cursors().await;
    let (seen, cursor, restarted) = walk(bench, &desk, Some(cursor)).await;
    assert!(restarted);
    assert!(
        seen.contains_key(&one),
        "what was there before is seen again"
    );
    assert!(
        seen.get(&gone).is_none_or(|item| item.deleted),
        "what is gone is not"
    );
    let page = page(bench, &desk, Some(&cursor)).await.unwrap();
    assert!(!page.restarted, "the new cursor is known");
}

/// Only a permit to look opens the inventory, and only while it lasts.
pub async fn only_a_permit_to_look_opens_the_inventory(bench: &dyn InventoryBench) {
    let desk = Desk::new("inventory");
    let port = bench.inventory().await;
    let (review, share) = ((Role::Attorney, Act::Review), (Role::Attorney, Act::Close));
    ended_permits_are_refused(&desk, Scope::firm(), review, share, async |permit| {
        port.inventory(None, permit).await
    })
    .await;
}

/// A page tells ids and lengths, and nothing of the content.
pub async fn a_page_tells_nothing_of_the_content(bench: &dyn InventoryBench) {
    let desk = Desk::new("inventory");
    stored(bench, &desk, 1, 1_000).await;
    let port = bench.inventory().await;
    let page = page(bench, &desk, None).await.unwrap();
    assert_unmarked(&format!("{port:?} {page:?}"));
}

async fn stored(bench: &dyn InventoryBench, desk: &Desk, number: u8, length: usize) -> Locator {
    let bytes = content(length, number);
    put(bench, desk, &document(desk, number, &bytes), &bytes, number)
        .await
        .unwrap()
        .locator
}

async fn page(
    bench: &dyn InventoryBench,
    desk: &Desk,
    cursor: Option<&Cursor>,
) -> Result<InventoryPage> {
    let session = desk.session(Role::Attorney);
    let permit = session.permit(Act::Review, Scope::firm()).await?;
    bench.inventory().await.inventory(cursor, &permit).await
}

/// What was said last of each file from a cursor on, the cursor at the end, and whether the
/// library made us start over.
async fn walk(
    bench: &dyn InventoryBench,
    desk: &Desk,
    mut cursor: Option<Cursor>,
) -> (BTreeMap<Locator, InventoryItem>, Cursor, bool) {
    let (mut seen, mut restarted) = (BTreeMap::new(), false);
    for _ in 0..MOST_PAGES {
        let page = page(bench, desk, cursor.as_ref()).await.unwrap();
        restarted |= page.restarted;
        seen.extend(
            page.items
                .into_iter()
                .map(|item| (item.locator.clone(), item)),
        );
        if !page.more {
            return (seen, page.next, restarted);
        }
        cursor = Some(page.next);
    }
    panic!("the pages do not end");
}

const MOST_PAGES: usize = 200;
