#![no_main]
#![doc = "See `kta_fuzz::policy`."]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = kta_fuzz::policy(data);
});
