//! Serves the Microsoft emulator (identity, Graph, SharePoint REST) on this machine until stopped.
//!
//! `cargo run --release --example graph_emulator -- --port 4010` prints one JSON line with
//! everything a client needs and then serves. The port is Graph's; login and SharePoint take free ones.

use kta_sharepoint::emulator::{Emulator, Options};
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let port = match port(std::env::args().skip(1)) {
        Ok(port) => port,
        Err(complaint) => {
            return complain(&format!("{complaint}\nusage: graph_emulator [--port N]"), 2);
        }
    };
    let served = tokio::runtime::Runtime::new().and_then(|runtime| runtime.block_on(serve(port)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("graph_emulator: {error}"), 1),
    }
}

fn complain(text: &str, code: u8) -> ExitCode {
    // With standard error closed there is nobody left to tell.
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::from(code)
}

async fn serve(port: u16) -> std::io::Result<()> {
    let mut options = Options::default();
    options.port = port;
    let emulator = Emulator::start(options).await?;
    let line = serde_json::json!({
        "graph_url": emulator.graph_url(),
        "login_url": emulator.login_url(),
        "sharepoint_url": emulator.sharepoint_url(),
        "tenant": emulator.tenant(),
        "client_id": emulator.client_id(),
        "client_secret": emulator.client_secret(),
        "token": emulator.token(),
        "site": emulator.site(),
        "drive": emulator.drive(),
        "item": emulator.item(),
    });
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    out.flush()?;
    tokio::signal::ctrl_c().await
}

fn port(mut args: impl Iterator<Item = String>) -> Result<u16, String> {
    match (args.next().as_deref(), args.next(), args.next()) {
        (None, ..) => Ok(0),
        (Some("--port"), Some(port), None) => port
            .parse()
            .map_err(|_| "--port wants a number from 0 to 65535".to_owned()),
        _ => Err("unknown argument".to_owned()),
    }
}
