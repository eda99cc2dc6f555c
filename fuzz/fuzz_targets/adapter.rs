//! Fuzzes `headstart_fuzz::adapter`.
#![no_main]

#[global_allocator]
static ALLOCATOR: headstart_fuzz::Bounded = headstart_fuzz::READER;

libfuzzer_sys::fuzz_target!(|data: &[u8]| headstart_fuzz::adapter(data));
