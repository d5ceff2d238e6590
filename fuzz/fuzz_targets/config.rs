#![no_main]
#![doc = "See `kta_fuzz::config`."]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = kta_fuzz::config(data);
});
