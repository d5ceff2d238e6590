use kta_core::pipeline::House;
use kta_core::pipeline::enter::enter;
use kta_core::pipeline::verify::Verified;
use kta_core::policy::Session;

async fn twice(house: &House, session: &Session<'_>, verified: Verified) {
    let _ = enter(house, session, verified).await;
    let _ = enter(house, session, verified).await;
}

fn main() {}
