//! Serves the Zoho CRM emulator on this machine until stopped.
//!
//! `cargo run --release --example zoho_emulator -- --port 4020` prints one JSON line with
//! everything a client needs and then serves. The port is the API's; the accounts server takes
//! a free one. `--port 0` (the default) takes a free one for both.

use std::io::Write;
use std::process::ExitCode;

use kta_zoho::emulator::{Emulator, EmulatorOptions};

fn main() -> ExitCode {
    let port = match port(std::env::args().skip(1)) {
        Ok(port) => port,
        Err(complaint) => {
            complain(&format!("{complaint}\nusage: zoho_emulator [--port N]"));
            return ExitCode::from(2);
        }
    };
    let served = tokio::runtime::Runtime::new().and_then(|runtime| runtime.block_on(serve(port)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

async fn serve(port: u16) -> std::io::Result<()> {
    let options = EmulatorOptions {
        api_port: port,
        ..EmulatorOptions::default()
    };
    let emulator = Emulator::start(options).await?;
    let line = serde_json::json!({
        "api_url": emulator.api_url(),
        "accounts_url": emulator.accounts_url(),
        "client_id": emulator.client_id(),
        "client_secret": emulator.client_secret(),
        "refresh_token": emulator.refresh_token(),
    });
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    out.flush()?;
    tokio::signal::ctrl_c().await
}

fn port(mut arguments: impl Iterator<Item = String>) -> Result<u16, &'static str> {
    match (
        arguments.next().as_deref(),
        arguments.next(),
        arguments.next(),
    ) {
        (None, ..) => Ok(0),
        (Some("--port"), Some(number), None) => number
            .parse()
            .map_err(|_| "the port is not a number from 0 to 65535"),
        _ => Err("unknown arguments"),
    }
}

fn complain(text: &str) {
    // There is nobody left to tell when even this cannot be written.
    let _ = writeln!(std::io::stderr(), "zoho_emulator: {text}");
}
