//! What must not compile: permits made, copied, widened or outliving their session outside the
//! gate; receipts made outside their stage; personal values shown, copied or serialised.

#[test]
fn the_forbidden_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
