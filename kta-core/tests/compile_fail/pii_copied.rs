use kta_core::pii::Pii;

fn copy(name: &Pii<String>) -> Pii<String> {
    Clone::clone(name)
}

fn main() {}
