//! An allocator that grants so much and no more: a reader must bound its memory by what the file has, not by what it claims.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, stopped where so many bytes are taken at once: the process aborts, and the fuzzer keeps the input.
pub struct Bounded(pub usize);

/// What a reader of files of some ten kilobytes may take.
pub const READER: Bounded = Bounded(512 << 20);

/// A few bytes may be an honest picture of one colour: `headstart-data` reads up to 150 million pixels, and decoders hold one twice.
pub const PICTURE: Bounded = Bounded(5 << 29);

// SAFETY: the system's allocator does the work; counting does not touch the memory.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.take(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.take(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        TAKEN.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        TAKEN.fetch_sub(layout.size(), Ordering::Relaxed);
        self.take(size);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

impl Bounded {
    fn take(&self, bytes: usize) {
        let before = TAKEN.fetch_add(bytes, Ordering::Relaxed);
        if bytes > self.0 || before.saturating_add(bytes) > self.0 {
            // Made room for before anything is printed, which may allocate.
            TAKEN.store(0, Ordering::Relaxed);
            eprintln!(
                "{bytes} bytes are asked for when {before} are taken, more than the {} that a reader may take",
                self.0
            );
            eprintln!("{}", std::backtrace::Backtrace::force_capture());
            std::process::abort();
        }
    }
}
