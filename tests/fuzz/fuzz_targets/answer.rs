#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| anubis::fuzzing::answer(data));
