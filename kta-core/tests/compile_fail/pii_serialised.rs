use kta_core::pii::Pii;

fn write_down(name: &Pii<String>) -> String {
    serde_json::to_string(name).unwrap()
}

fn main() {}
