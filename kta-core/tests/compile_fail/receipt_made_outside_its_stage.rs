use kta_core::pipeline::verify::Verified;

fn forge(json: &str) -> Verified {
    serde_json::from_str(json).unwrap()
}

fn main() {}
