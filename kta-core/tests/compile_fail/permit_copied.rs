use kta_core::policy::Permit;

fn copy<'p>(permit: &'p Permit<'p>) -> Permit<'p> {
    permit.clone()
}

fn main() {}
