use kta_core::policy::Permit;

fn hand_over(permit: Permit<'_>) {
    std::thread::spawn(move || drop(permit));
}

fn main() {}
