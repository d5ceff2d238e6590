#![no_main]
#![doc = "See `kta_fuzz::log_entry`."]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = kta_fuzz::log_entry(data);
});
