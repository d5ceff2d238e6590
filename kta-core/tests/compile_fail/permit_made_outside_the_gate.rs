use kta_core::policy::{Permit, Scope, Session};

fn forge<'s>(session: &'s Session<'s>) -> Permit<'s> {
    Permit { session, scope: Scope::firm(), ..unreachable!() }
}

fn main() {}
