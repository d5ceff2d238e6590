use kta_core::pii::Pii;

fn peek(name: &Pii<String>) -> &str {
    name.expose()
}

fn main() {}
