#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| atomfeed_fuzz::answered(input));
