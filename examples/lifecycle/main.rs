//! The main job: one invented family's personal data, from the first mail to the certificate of
//! destruction, through the real adapters over real HTTP and on a real database file.
//!
//! ```text
//! cargo run --release --example lifecycle
//! cargo run --release --example verify -- target/lifecycle
//! ```

mod cast;
mod doors;
mod evidence;
mod options;
mod packs;
mod road;
mod story;

use std::path::PathBuf;
use std::process::ExitCode;

use cast::{Cast, Failure, Manifest};
use kta_core::time::Clock as _;
use options::{Options, USAGE};
use story::{Story, say};

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            complain(&format!("{why}\nusage: {USAGE}"));
            return ExitCode::FAILURE;
        }
    };
    match run(&options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&format!("stopped: {failure}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), Failure> {
    let family = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/family");
    let manifest = Manifest::read(&family)?;
    doors::clear(&options.out)?;
    let cast = Cast::draw(&manifest, &kta_keys::OsEntropy);
    let first = cast::instant(&manifest.matter.first_delivery)?;
    // Outside services live by their own clocks, so the story is moved to the present for them.
    let outside = options.zoho.is_some() || options.graph.is_some();
    let now = if outside {
        kta_storage::SystemClock.now()
    } else {
        first
    };
    let mut opened = doors::open(options, &manifest, cast.tenant, now).await?;
    let mut story = Story::begin(&cast);
    let disposed = road::travel(
        &mut opened,
        &manifest,
        &family,
        &cast,
        now - first,
        &mut story,
    )
    .await?;
    if story.refusals() < 6 {
        return Err("the road had fewer refusals than the story promises".into());
    }
    story.chapter("Evidence: what anybody can check without trusting us");
    let canaries: Vec<_> = manifest
        .person
        .iter()
        .flat_map(cast::Person::canaries)
        .collect();
    evidence::leak_check(&opened, &canaries).await?;
    story.line("No value of the family stands in the log, the registers or a URL.");
    let files = evidence::export(&options.out, opened, &disposed, story).await?;
    say(&format!(
        "\n{files} files in {}, all under one signed manifest. Check them:",
        options.out.display()
    ));
    say(&format!(
        "    cargo run --release --example verify -- {}",
        options.out.display()
    ));
    Ok(())
}

fn complain(text: &str) {
    use std::io::Write as _;
    // There is nobody left to tell when even this cannot be written.
    let _ = writeln!(std::io::stderr(), "lifecycle: {text}");
}
