use kta_core::id::ActorId;
use kta_core::policy::{Act, Gate, Permit, Purpose, Role, Scope};

async fn smuggle(gate: &Gate, who: ActorId) -> Option<Permit<'_>> {
    let session = gate.session(who, Role::Paralegal, Purpose::Representation);
    session.permit(Act::Open, Scope::firm()).await.ok()
}

fn main() {}
