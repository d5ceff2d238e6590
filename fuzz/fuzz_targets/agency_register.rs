#![no_main]
#![doc = "See `kta_fuzz::agency_register`."]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = kta_fuzz::agency_register(data);
});
