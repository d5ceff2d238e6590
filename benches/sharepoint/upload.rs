//! Large files: how fast beside `curl`, and in how much memory.

use crate::figures::{Figures, median, sized};
use crate::place::{Elsewhere, Place, described, key};
use bytes::Bytes;
use futures_util::StreamExt as _;
use kta_core::id::Digest;
use kta_core::pii::{Content, Document, MediaType};
use kta_core::policy::{Act, Role};
use kta_core::ports::Documents as _;
use kta_sharepoint::SharePoint;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Uploads in turn with `curl`, each of the same size into a file of its own.
pub(crate) fn throughput(figures: &mut Figures) {
    let (megabytes, rounds) = (sized(200, 25), sized(7, 3));
    let parts = tempfile::tempdir().unwrap();
    for part in 0..megabytes / 5 {
        let bytes: Vec<u8> = (0..5).flat_map(|n| chunk(part * 5 + n)).collect();
        fs::write(parts.path().join(part.to_string()), bytes).unwrap();
    }
    let elsewhere = Elsewhere::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let library = runtime.block_on(elsewhere.place.connect());
    let digest = digest(megabytes);
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let document = described(&elsewhere.place.desk, round, digest, length(megabytes));
        let start = Instant::now();
        runtime.block_on(put(&library, &elsewhere.place, &document, round));
        let own = start.elapsed().as_secs_f64();
        let start = Instant::now();
        curl(&elsewhere.place, parts.path(), megabytes, round);
        let peers = start.elapsed().as_secs_f64();
        ours.push(f64::from(megabytes) / own);
        theirs.push(f64::from(megabytes) / peers);
        ratios.push(peers / own);
    }
    figures.remark(format!(
        "upload of {megabytes} MiB, medians: adapter {:.0} MiB/s, curl {:.0} MiB/s",
        median(ours),
        median(theirs)
    ));
    let claim = "upload throughput / curl sending the same fragments";
    figures.at_least(claim, median(ratios), "times", 0.5);
}

/// One large file up and down, and how large this process was at its largest.
pub(crate) fn memory(figures: &mut Figures) {
    let megabytes = sized(1_024, 64);
    let elsewhere = Elsewhere::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let library = runtime.block_on(elsewhere.place.connect());
    let document = described(
        &elsewhere.place.desk,
        0,
        digest(megabytes),
        length(megabytes),
    );
    runtime.block_on(async {
        put(&library, &elsewhere.place, &document, 0).await;
        let session = elsewhere.place.desk.session(Role::Paralegal);
        let whole = elsewhere.place.desk.whole(document.subject);
        let permit = session.permit(Act::Store, whole).await.unwrap();
        let stored = library.locate(document.matter, document.id, &permit).await;
        let stored = stored.unwrap().expect("it was stored");
        let content = library.content(&document, &stored.locator, &permit).await;
        let mut stream = content.unwrap().into_stream(&permit);
        let mut read = 0;
        while let Some(chunk) = stream.next().await {
            // The digest is checked as the content passes.
            read += chunk.unwrap().len() as u64;
        }
        assert_eq!(read, document.length);
    });
    let claim = format!("memory of the whole process, {megabytes} MiB up and down");
    figures.at_most(&claim, peak() / 1024.0, "MiB", 64.0);
}

async fn put(library: &SharePoint, place: &Place, document: &Document, n: u32) {
    let session = place.desk.session(Role::Paralegal);
    let whole = place.desk.whole(document.subject);
    let permit = session.permit(Act::Store, whole).await.unwrap();
    let megabytes = (document.length >> 20) as u32;
    let stream = futures_util::stream::iter(0..megabytes).map(|n| Ok(Bytes::from(chunk(n))));
    let content = Content::new(
        document.length,
        document.digest,
        MediaType::pdf(),
        Box::pin(stream),
    );
    let put = library.put(document, None, content, key(n), &permit);
    put.await.unwrap();
}

/// An upload session filled by `curl` over one connection.
fn curl(place: &Place, parts: &Path, megabytes: u32, round: u32) {
    let (graph, drive) = (place.word("graph_url"), place.word("drive"));
    let url = format!("{graph}/v1.0/drives/{drive}/root:/curl/{round}.bin:/createUploadSession");
    let bearer = format!("Authorization: Bearer {}", place.word("token"));
    let session = Command::new("curl")
        .args([
            "-sS",
            "--noproxy",
            "*",
            "-X",
            "POST",
            "-H",
            &bearer,
            "-d",
            "",
            &url,
        ])
        .output()
        .expect("curl is installed");
    let session: serde_json::Value = serde_json::from_slice(&session.stdout).unwrap();
    let address = session["uploadUrl"].as_str().unwrap();
    let (step, total) = (5_u64 << 20, length(megabytes));
    let mut wishes = String::new();
    for part in 0..u64::from(megabytes / 5) {
        let (from, to) = (part * step, (part + 1) * step - 1);
        // Writing to a string cannot fail.
        let _ = write!(
            wishes,
            "url = \"{address}\"\nupload-file = \"{}\"\nsilent\nshow-error\nfail\nnoproxy = \"*\"\n\
             header = \"Content-Range: bytes {from}-{to}/{total}\"\noutput = \"/dev/null\"\nnext\n",
            parts.join(part.to_string()).display()
        );
    }
    let wish = parts.join(format!("wish-{round}"));
    fs::write(&wish, wishes.trim_end_matches("next\n")).unwrap();
    let sent = Command::new("curl").arg("-K").arg(&wish).status();
    assert!(sent.unwrap().success(), "curl sent every fragment");
}

/// A megabyte that differs from every other.
fn chunk(n: u32) -> Vec<u8> {
    let mut state = n.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut bytes = vec![0; 1 << 20];
    for word in bytes.chunks_exact_mut(4) {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        word.copy_from_slice(&state.to_be_bytes());
    }
    bytes
}

fn digest(megabytes: u32) -> Digest {
    use aws_lc_rs::digest::{Context, SHA256};
    let mut hash = Context::new(&SHA256);
    (0..megabytes).for_each(|n| hash.update(&chunk(n)));
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.finish().as_ref());
    Digest::from_bytes(bytes)
}

const fn length(megabytes: u32) -> u64 {
    (megabytes as u64) << 20
}

/// The largest this process has been, in KiB.
fn peak() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    number.expect("the system tells the peak")
}
