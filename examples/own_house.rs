//! A firm's own house on disk. Run it twice: the second run finds what the first one left.
//!
//! ```text
//! cargo run --example own_house -- FOLDER
//! ```
//!
//! Store, keys, blobs, policy, scanner and mailbox are the real ones. Where this firm has nothing
//! yet (a CRM, a library, an agency's desk) a door of `kta_core::memory` stands in: put the adapter
//! of kta-zoho, kta-sharepoint or kta-agency there before anything is entered in one.
#![allow(clippy::print_stdout, reason = "an example speaks")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kta_core::audit::Label;
use kta_core::crypto::Hierarchy;
use kta_core::id::{ActorId, TenantId};
use kta_core::memory::MemoryPorts;
use kta_core::pipeline::receive::{Reception, receive};
use kta_core::pipeline::{Doors, House, manage};
use kta_core::policy::{Actor, Grain, Purpose, Role, Sealer};
use kta_core::ports::Erase;
use kta_core::time::{Clock, Entropy};
use kta_intake::{Maildir, TextLayer, mail::Gateway};
use kta_keys::{LocalKeyring, OsEntropy, Unlock};
use kta_storage::{AnchorFile, DiskBlobs, SqliteKeyTable, SqliteStore, SystemClock};

/// The name of our log, and of the key that signs its checkpoints.
const ORIGIN: &str = "firm.example/audit";

#[tokio::main]
async fn main() -> kta_core::Result<()> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| PathBuf::from("target/own-house"));
    let (house, mailbox) = open(&folder).await?;
    let clerk = ActorId::derived(&[b"our intake clerk"]);

    // An older copy of the store, put back by whoever holds the disk, goes no further: AUD-FORK.
    let anchor = AnchorFile::at(folder.join("elsewhere/anchor"));
    let (ledger, tenant) = (&*house.doors.ledger, house.tenant());
    let log = anchor.resume_log(ledger, tenant, ORIGIN, None).await?;
    if log.size() == 0 {
        manage::found(&house, clerk, vec![Actor::new(clerk, Role::Intake)]).await?;
        let letter = include_bytes!("family/mail/01-beneficiary.eml");
        mailbox.import(house.gate.now(), "first", letter)?;
        println!("founded, with a letter in the mailbox");
    } else {
        manage::wake(&house).await?;
        println!("awake, with {} entries on the audit log", log.size());
    }
    let session = house.session(clerk, Role::Intake, Purpose::Representation);
    loop {
        match receive(&house, &session, &*mailbox).await? {
            Reception::Nothing => break,
            Reception::Received(received) => println!(
                "in quarantine: channel {}, {} parts",
                received.verdict().as_str(),
                received.parts().len()
            ),
            Reception::Refused { refusal, .. } => println!("refused: {refusal}"),
        }
    }
    let log = anchor.resume_log(ledger, tenant, ORIGIN, None).await?;
    let last = ledger.entries(tenant, log.size() - 1, 1).await?;
    anchor.keep(&log, &last[0])?;
    println!(
        "{} entries, the last of them remembered elsewhere",
        log.size()
    );
    Ok(())
}

/// Opens what there is below the folder, and makes what there is not.
async fn open(folder: &Path) -> kta_core::Result<(House, Arc<Maildir>)> {
    let tenant = TenantId::derived(&[b"our firm"]);
    let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    // The key that opens the keyring, and the anchor, belong where a thief of the disk is not.
    for name in ["", "elsewhere"] {
        std::fs::create_dir_all(folder.join(name)).expect("a folder that can be made");
    }
    let unlock = Unlock::key_file(folder.join("elsewhere/unlock.key"));
    let keyring = folder.join("keyring");
    let keyring = LocalKeyring::open_or_create(&keyring, &unlock, Arc::clone(&entropy))?;
    let signer = Arc::new(keyring.signer(ORIGIN)?);
    let table = Arc::new(SqliteKeyTable::open(folder.join("keys.db"))?);
    let kms = Arc::new(keyring);
    let keys = Hierarchy::open(tenant, kms, table, Arc::clone(&entropy), clock.now()).await?;

    let store = Arc::new(SqliteStore::open(folder.join("firm.db"))?);
    let blobs = Arc::new(DiskBlobs::open(folder.join("blobs"))?);
    let mailbox = Arc::new(Maildir::open(
        folder.join("mailbox"),
        Label::fixed("mail"),
        Gateway::named("mx.kta.example"),
        ["intake@kta.example"],
        Arc::clone(&clock),
    )?);
    let none_yet = MemoryPorts::new(0, clock.now());
    let doors = Doors {
        jobs: Arc::clone(&store) as _,
        ledger: Arc::clone(&store) as _,
        blobs: Arc::clone(&blobs) as _,
        crm: none_yet.crm,
        documents: Arc::clone(&none_yet.library) as _,
        collaboration: none_yet.library,
        channel: none_yet.channel,
        scanner: Arc::new(kta_dlp::DlpScanner::new()),
        reader: Arc::new(TextLayer),
        policy: Arc::new(kta_policy::CedarPolicy::shipped()?),
        clock,
        entropy: Arc::clone(&entropy),
        signer,
        // Who can erase what was put somewhere; without one, nothing is put there.
        erasers: vec![
            Arc::clone(&store) as Arc<dyn Erase>,
            blobs,
            Arc::clone(&mailbox) as _,
        ],
        store,
    };
    // A value for each classification in a record; without the grain, one for each field.
    let sealer = Sealer::new(Arc::new(keys), entropy).with_grain(Grain::Classification);
    let house = House::new(tenant, doors, sealer);
    Ok((house, mailbox))
}
