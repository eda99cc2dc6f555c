//! Fuzzes `headstart_fuzz::picture`.
#![no_main]

#[global_allocator]
static ALLOCATOR: headstart_fuzz::Bounded = headstart_fuzz::PICTURE;

libfuzzer_sys::fuzz_target!(|data: &[u8]| headstart_fuzz::picture(data));
