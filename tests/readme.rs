//! The README's example is `examples/embed.rs`, which is compiled and run.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[test]
fn the_readmes_example_is_the_compiled_one() {
    let readme =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let example = include_str!("../examples/embed.rs");
    let code = example.split_once("\n\n").map(|(_, code)| code).unwrap();
    assert!(
        readme.contains(code),
        "README.md and examples/embed.rs differ"
    );
    assert!(code.lines().count() < 40);
}
