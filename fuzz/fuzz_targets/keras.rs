//! Fuzzes `headstart_fuzz::keras`.
#![no_main]

#[global_allocator]
static ALLOCATOR: headstart_fuzz::Bounded = headstart_fuzz::READER;

libfuzzer_sys::fuzz_target!(|data: &[u8]| headstart_fuzz::keras(data));
