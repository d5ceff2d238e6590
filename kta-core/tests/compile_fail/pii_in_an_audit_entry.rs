use kta_core::audit::Event;

fn leak(event: Event, name: String) -> Event {
    event.with("name", name)
}

fn main() {}
