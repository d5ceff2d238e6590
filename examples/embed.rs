//! Embeds the pipeline in a firm's tool with in-memory ports.
fn main() {}
