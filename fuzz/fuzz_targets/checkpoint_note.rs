#![no_main]
#![doc = "See `kta_fuzz::checkpoint_note`."]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = kta_fuzz::checkpoint_note(data);
});
