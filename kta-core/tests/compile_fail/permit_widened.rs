use kta_core::policy::{Permit, Scope};

fn widen(mut permit: Permit<'_>) -> Permit<'_> {
    permit.scope = Scope::firm();
    permit
}

fn main() {}
