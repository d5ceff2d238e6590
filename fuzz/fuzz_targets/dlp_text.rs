#![no_main]
#![doc = "See `kta_fuzz::dlp_text`."]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = kta_fuzz::dlp_text(data);
});
