//! The ceremony of a recovery key: five partners hold a share each, any three of them open the
//! firm's keyring when its passphrase is lost. And what the shares can do beyond that: together
//! with an old copy of the file they bring back a key that was destroyed, which the evidence says.
//!
//! ```sh
//! cargo run --example key_ceremony
//! ```
#![allow(clippy::print_stdout, reason = "an example speaks")]

use std::sync::Arc;

use kta_core::audit::Label;
use kta_core::crypto::SecretKey;
use kta_core::id::{IdempotencyKey, TenantId};
use kta_core::ports::kms::{KekId, Kms as _};
use kta_core::time::Timestamp;
use kta_keys::{LocalKeyring, OsEntropy, Share, Unlock};
use secrecy::{ExposeSecret as _, SecretString};

const TENANT: TenantId = TenantId::from_bytes([1; 16]);
const HOLDERS: [&str; 5] = ["Alder", "Birch", "Cedar", "Dogwood", "Elm"]; // nobody

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let (file, backup) = (
        folder.path().join("firm.keyring"),
        folder.path().join("backup"),
    );
    let entropy = Arc::new(OsEntropy);

    println!("1. The firm has a keyring, and two keys in it.");
    let lost = Unlock::passphrase("a passphrase that one person knew".to_owned().into());
    let keyring = LocalKeyring::create(&file, &lost, entropy.clone())?;
    let old = kek(&keyring, b"an epoch that ends").await?;
    let present = kek(&keyring, b"the present epoch").await?;
    let secret = SecretKey::random(&OsEntropy);
    let under_old = keyring.wrap(&old, &secret, b"lesson").await?;
    let under_present = keyring.wrap(&present, &secret, b"lesson").await?;

    println!("2. Ceremony: each holder copies the share by hand and reads it back aloud.");
    let shares = keyring.escrow(3, 5)?;
    println!("   recovery key {}, three of five:", shares[0].set());
    let mut cards: Vec<SecretString> = Vec::new();
    for (holder, share) in HOLDERS.iter().zip(shares) {
        let card = share.text();
        // The keyring cannot see that a holder wrote something else; reading it back does.
        assert!(Share::read(card.expose_secret())? == share);
        // On a screen only because these shares protect nothing.
        println!("   {holder:>8}  {}", card.expose_secret());
        cards.push(card);
    }

    println!("3. The file is backed up, which is declared; then a key is destroyed.");
    std::fs::copy(&file, &backup)?;
    keyring.declare_copy(Label::fixed("offsite-backup"))?;
    let evidence = keyring.destroy(&old, Timestamp::UNIX_EPOCH).await?;
    println!(
        "   copies in the evidence: {} (the backup, and the shares that open it)",
        evidence.copies
    );

    println!("4. The passphrase is lost. Two holders are too few, three are enough.");
    drop(keyring);
    let at_the_table = |numbers: &[usize]| -> kta_core::Result<Vec<Share>> {
        let read = numbers
            .iter()
            .map(|at| Share::read(cards[*at].expose_secret()));
        read.collect()
    };
    let new = Unlock::passphrase("a new passphrase, known to two".to_owned().into());
    let two = LocalKeyring::recover(&file, &at_the_table(&[0, 3])?, &new, entropy.clone());
    println!("   two:   {}", two.expect_err("two shares are not enough"));
    let mut misread = cards[1].expose_secret().to_owned();
    let last = misread
        .pop()
        .map_or('0', |digit| if digit == '7' { '1' } else { '7' });
    misread.push(last);
    println!(
        "   a card misread: {}",
        Share::read(&misread).expect_err("the check digit is wrong")
    );
    let three = at_the_table(&[4, 1, 2])?;
    let keyring = LocalKeyring::recover(&file, &three, &new, entropy.clone())?;
    let opened = keyring.unwrap(&present, &under_present, b"lesson").await?;
    assert!(opened == secret);
    println!("   three: the keyring is open, and the present key works");
    let gone = keyring.unwrap(&old, &under_old, b"lesson").await;
    println!(
        "   the destroyed one stays destroyed: {}",
        gone.expect_err("a destroyed key opens nothing")
    );

    println!("5. The same three with the old backup: the destroyed key is back.");
    let past = LocalKeyring::recover(&backup, &three, &new, entropy)?;
    let opened = past.unwrap(&old, &under_old, b"lesson").await?;
    assert!(opened == secret);
    println!("   it opens what it should not, as the evidence said");
    println!("   so destroy backups and shares first, declare it, and only then destroy keys:");
    keyring.copy_destroyed(&Label::fixed("offsite-backup"))?;
    keyring.shares_destroyed(three[0].set())?;
    let evidence = keyring.destroy(&present, Timestamp::UNIX_EPOCH).await?;
    println!("   copies in the evidence: {}", evidence.copies);
    Ok(())
}

async fn kek(keyring: &LocalKeyring, name: &[u8]) -> kta_core::Result<KekId> {
    let key = IdempotencyKey::derived("key-ceremony", &[name]);
    keyring.create(TENANT, key).await
}
