use kta_core::policy::Permit;

fn write_down(permit: &Permit<'_>) -> String {
    serde_json::to_string(permit).unwrap()
}

fn main() {}
