//! Embeds the pipeline in a firm's tool, with every port in memory.
#![allow(clippy::print_stdout, reason = "an example speaks")]

use kta_core::id::ActorId;
use kta_core::memory::{Letter, MemoryPorts};
use kta_core::pii::MediaType;
use kta_core::pipeline::manage;
use kta_core::pipeline::receive::{Reception, receive};
use kta_core::policy::{Act, Actor, Purpose, Role, Scope};

#[tokio::main]
async fn main() -> kta_core::Result<()> {
    let now = kta_core::time::Timestamp::UNIX_EPOCH;
    let ports = MemoryPorts::new(1, now); // a firm brings its own: SQLite, Zoho, SharePoint, …
    let house = ports.open().await?;
    let clerk = ActorId::derived(&[b"an intake clerk"]);
    manage::found(&house, clerk, vec![Actor::new(clerk, Role::Intake)]).await?;

    let letter = Letter::new(now, "somebody@example.org").with("body", "my passport");
    let letter = letter.attach("passport.txt", MediaType::text(), "P<UTO…");
    ports.intake.push(letter);

    // One actor, in one role, for one purpose. Every no is a code, and every yes is on the log first.
    let session = house.session(clerk, Role::Intake, Purpose::Representation);
    if let Reception::Received(received) = receive(&house, &session, &*ports.intake).await? {
        println!("in quarantine, channel {}:", received.verdict().as_str());
        println!("{}", received.acknowledgement(&*house.doors.signer)?);
    }
    let refused = session.permit(Act::Export, Scope::firm()).await;
    println!("{}", refused.expect_err("a clerk exports nothing"));
    let entries = house.doors.ledger.size(house.tenant()).await?;
    println!("{entries} entries on the audit log");
    Ok(())
}
