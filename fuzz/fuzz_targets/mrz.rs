#![no_main]
#![doc = "See `kta_fuzz::mrz`."]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = kta_fuzz::mrz(data);
});
