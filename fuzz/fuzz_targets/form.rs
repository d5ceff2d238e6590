#![no_main]
#![doc = "See `kta_fuzz::form`."]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = kta_fuzz::form(data);
});
