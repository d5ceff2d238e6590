//! The kit of [`Intake`].

use core::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::marks::{MARK, assert_unmarked, ended_permits_are_refused};
use super::{Desk, cancelled};
use crate::error::Result;
use crate::id::{DeliveryId, Digest};
use crate::policy::{Act, Role, Scope};
use crate::ports::intake::{Delivery, Intake};

conformance_cases! {$
    /// The contract of [`Intake`](crate::ports::Intake) as tests; `fresh` gives an
    /// [`IntakeBench`](crate::conformance::intake::IntakeBench). See
    /// [`conformance`](crate::conformance).
    intake_conformance = intake:
    an_empty_channel_gives_nothing,
    what_was_sent_is_what_is_given,
    the_oldest_is_given_until_it_is_acknowledged,
    the_same_bytes_from_the_same_sender_have_the_same_id,
    an_acknowledged_delivery_is_not_given_again_and_acknowledging_again_is_no_error,
    what_cannot_be_read_is_refused_and_does_not_stop_what_stands_behind_it,
    nothing_is_lost_when_the_process_dies_before_acknowledging,
    a_cancelled_acknowledgement_is_whole_or_nothing,
    only_a_permit_to_receive_opens_the_channel,
    errors_and_debug_hold_nothing_of_a_delivery,
}

/// An empty channel, and somebody who sends by it.
#[async_trait]
pub trait IntakeBench: Send + Sync {
    /// The port, opened anew each time: a process that was started again.
    async fn intake(&self) -> Arc<dyn Intake>;

    /// Sends a letter, later than every one before. The same letter makes the same bytes, as far
    /// as the channel's id depends on them.
    async fn send(&self, letter: &Letter);

    /// Sends what this channel cannot read and refuses.
    async fn send_unreadable(&self);
}

/// What a client sends.
#[derive(Clone)]
pub struct Letter {
    /// The sender's e-mail address.
    pub sender: String,
    /// What the letter says.
    pub text: String,
    /// The attachment's file name, and its bytes: plain text in UTF-8.
    pub attachment: (String, Vec<u8>),
}

impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Letter(..)")
    }
}

/// A channel to which nothing was sent gives nothing.
pub async fn an_empty_channel_gives_nothing(bench: &dyn IntakeBench) {
    let desk = Desk::new("intake");
    assert!(oldest(bench, &desk).await.is_none());
}

/// What was sent is what is given: sender, text, and the attachment byte for byte.
pub async fn what_was_sent_is_what_is_given(bench: &dyn IntakeBench) {
    let desk = Desk::new("intake");
    let letter = letter(1);
    bench.send(&letter).await;
    let given = oldest(bench, &desk).await.unwrap();
    assert!(given.refused.is_none());
    assert!(*given.sender.bare() == letter.sender);
    let said = given
        .fields
        .values()
        .any(|value| value.bare().contains(&letter.text));
    assert!(said, "no field holds the text");
    assert_eq!(given.parts.len(), 1);
    let part = &given.parts[0];
    assert!(*part.name.bare() == letter.attachment.0);
    assert_eq!(part.digest, Digest::of(&letter.attachment.1));
    assert_eq!(part.length, letter.attachment.1.len() as u64);
    assert_eq!(part.media.as_str(), "text/plain");
    assert!(*part.content.as_ref().unwrap().bare() == letter.attachment.1);
}

/// `oldest` gives the oldest delivery that was not acknowledged, the same one until it is.
pub async fn the_oldest_is_given_until_it_is_acknowledged(bench: &dyn IntakeBench) {
    let desk = Desk::new("intake");
    for number in 1..=3 {
        bench.send(&letter(number)).await;
    }
    let mut order = Vec::new();
    for number in 1..=3 {
        let given = oldest(bench, &desk).await.unwrap();
        let again = oldest(bench, &desk).await.unwrap();
        assert_eq!(
            (given.id, given.locator, given.at),
            (again.id, again.locator, again.at)
        );
        assert_eq!(
            given.parts[0].digest,
            Digest::of(&letter(number).attachment.1)
        );
        acknowledge(bench, &desk, given.id).await.unwrap();
        order.push(given.id);
    }
    assert!(oldest(bench, &desk).await.is_none());
    order.dedup();
    assert_eq!(order.len(), 3, "each delivery has its own id");
}

/// The same bytes from the same sender have the same delivery id; other bytes or another
/// sender's have another.
pub async fn the_same_bytes_from_the_same_sender_have_the_same_id(bench: &dyn IntakeBench) {
    let desk = Desk::new("intake");
    let same = letter(1);
    let mut other_sender = letter(1);
    other_sender.sender = format!("other.{}", other_sender.sender);
    let mut other_bytes = letter(1);
    other_bytes.attachment.1.push(b'!');
    let mut ids = Vec::new();
    for letter in [&same, &other_sender, &other_bytes] {
        bench.send(letter).await;
        let given = oldest(bench, &desk).await.unwrap();
        acknowledge(bench, &desk, given.id).await.unwrap();
        ids.push(given.id);
    }
    assert!(ids[0] != ids[1] && ids[0] != ids[2] && ids[1] != ids[2]);
    bench.send(&same).await;
    // A channel may keep a second copy back; if it gives it, then under the same id.
    if let Some(given) = oldest(bench, &desk).await {
        assert_eq!(given.id, ids[0]);
    }
}

/// An acknowledged delivery is not given again; acknowledging it again is no error.
pub async fn an_acknowledged_delivery_is_not_given_again_and_acknowledging_again_is_no_error(
    bench: &dyn IntakeBench,
) {
    let desk = Desk::new("intake");
    bench.send(&letter(1)).await;
    bench.send(&letter(2)).await;
    let first = oldest(bench, &desk).await.unwrap().id;
    acknowledge(bench, &desk, first).await.unwrap();
    acknowledge(bench, &desk, first).await.unwrap();
    let second = oldest(bench, &desk).await.unwrap().id;
    assert_ne!(first, second);
    acknowledge(bench, &desk, first).await.unwrap();
    assert_eq!(oldest(bench, &desk).await.unwrap().id, second);
    acknowledge(bench, &desk, second).await.unwrap();
    assert!(oldest(bench, &desk).await.is_none());
}

/// What cannot be read is refused with its code, can be acknowledged like any other, and does
/// not stop what stands behind it.
pub async fn what_cannot_be_read_is_refused_and_does_not_stop_what_stands_behind_it(
    bench: &dyn IntakeBench,
) {
    let desk = Desk::new("intake");
    bench.send_unreadable().await;
    bench.send(&letter(1)).await;
    let given = oldest(bench, &desk).await.unwrap();
    let refusal = given
        .refused
        .as_ref()
        .expect("cannot be read, so it is refused");
    assert!(refusal.code().as_str().starts_with("INT-"), "{refusal}");
    assert!(given.parts.iter().all(|part| part.content.is_err()));
    assert_eq!(oldest(bench, &desk).await.unwrap().id, given.id);
    acknowledge(bench, &desk, given.id).await.unwrap();
    let behind = oldest(bench, &desk).await.unwrap();
    assert!(behind.refused.is_none());
    assert_eq!(behind.parts[0].digest, Digest::of(&letter(1).attachment.1));
}

/// Nothing is lost when the process dies between `oldest` and `acknowledge`.
pub async fn nothing_is_lost_when_the_process_dies_before_acknowledging(bench: &dyn IntakeBench) {
    let desk = Desk::new("intake");
    bench.send(&letter(1)).await;
    let (session, firm) = (desk.session(Role::Intake), Scope::firm());
    let permit = session.permit(Act::Receive, firm).await.unwrap();
    let dying = bench.intake().await;
    let given = dying.oldest(&permit).await.unwrap().unwrap();
    drop(dying);
    let risen = bench.intake().await;
    assert_eq!(risen.oldest(&permit).await.unwrap().unwrap().id, given.id);
    drop(risen);
    // The one that acknowledges need not be the one that gave.
    bench
        .intake()
        .await
        .acknowledge(given.id, &permit)
        .await
        .unwrap();
    assert!(
        bench
            .intake()
            .await
            .oldest(&permit)
            .await
            .unwrap()
            .is_none()
    );
}

/// A caller that goes away in the middle leaves the delivery acknowledged or not, and no other
/// touched.
pub async fn a_cancelled_acknowledgement_is_whole_or_nothing(bench: &dyn IntakeBench) {
    let desk = Desk::new("intake");
    bench.send(&letter(1)).await;
    bench.send(&letter(2)).await;
    let first = oldest(bench, &desk).await.unwrap().id;
    cancelled(acknowledge(bench, &desk, first));
    acknowledge(bench, &desk, first).await.unwrap();
    let second = oldest(bench, &desk).await.unwrap();
    assert_eq!(second.parts[0].digest, Digest::of(&letter(2).attachment.1));
}

/// Only a permit to receive opens the channel.
pub async fn only_a_permit_to_receive_opens_the_channel(bench: &dyn IntakeBench) {
    let desk = Desk::new("intake");
    bench.send(&letter(1)).await;
    let given = oldest(bench, &desk).await.unwrap();
    let port = bench.intake().await;
    let (receive, open) = ((Role::Intake, Act::Receive), (Role::Intake, Act::Open));
    ended_permits_are_refused(&desk, Scope::firm(), receive, open, async |permit| {
        port.oldest(permit).await
    })
    .await;
    ended_permits_are_refused(&desk, Scope::firm(), receive, open, async |permit| {
        port.acknowledge(given.id, permit).await
    })
    .await;
    assert_eq!(oldest(bench, &desk).await.unwrap().id, given.id);
}

/// Errors and `Debug` contain nothing of a delivery.
pub async fn errors_and_debug_hold_nothing_of_a_delivery(bench: &dyn IntakeBench) {
    let desk = Desk::new("intake");
    bench.send(&letter(1)).await;
    let given = oldest(bench, &desk).await.unwrap();
    let port = bench.intake().await;
    let (locator, channel) = (given.locator.clone(), port.channel());
    assert_unmarked(&format!("{port:?} {given:?} {locator:?} {channel:?}"));
}

async fn oldest(bench: &dyn IntakeBench, desk: &Desk) -> Option<Delivery> {
    let session = desk.session(Role::Intake);
    let permit = session.permit(Act::Receive, Scope::firm()).await.unwrap();
    bench.intake().await.oldest(&permit).await.unwrap()
}

async fn acknowledge(bench: &dyn IntakeBench, desk: &Desk, delivery: DeliveryId) -> Result<()> {
    let session = desk.session(Role::Intake);
    let permit = session.permit(Act::Receive, Scope::firm()).await?;
    bench.intake().await.acknowledge(delivery, &permit).await
}

fn letter(number: u8) -> Letter {
    let sender = format!("{}.{number}@client.example", MARK.to_lowercase());
    Letter {
        sender,
        text: format!("please find enclosed the {MARK} paper number {number}"),
        attachment: (
            format!("{MARK} paper {number}.txt"),
            format!("invented paper {number} of {MARK}: דוגמה, пример\n").into_bytes(),
        ),
    }
}
