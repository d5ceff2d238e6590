use kta_core::pii::Pii;

fn show(name: &Pii<String>) -> String {
    format!("{name}")
}

fn main() {}
