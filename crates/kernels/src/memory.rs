//! An allocator that keeps large blocks for the next who wants one.
//!
//! A step of training takes and frees the same hundreds of megabytes again and again.  An allocator that returns them to
//! the system pays for every page anew: the system clears it and maps it at first touch, which is a fifth of a step.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr;
use std::sync::Mutex;

/// Blocks from this size on are kept.
const LARGE: usize = 1 << 18;
/// Blocks that can be kept.
const PLACES: usize = 256;

/// Wraps an allocator: freed blocks of 256 kB and more are kept and handed out again.
///
/// The process does not grow by it without bound: before a block is taken from the system, the oldest of what is kept is
/// returned until large blocks in use and kept are within five quarters of what was ever in use at once.
///
/// ```
/// use headstart_kernels::memory::Keeping;
///
/// #[global_allocator]
/// static ALLOCATOR: Keeping<std::alloc::System> = Keeping::new(std::alloc::System);
///
/// let first = vec![1u8; 1 << 20];
/// let address = first.as_ptr();
/// drop(first);
/// assert_eq!(vec![2u8; 1 << 20].as_ptr(), address);
/// ```
pub struct Keeping<A> {
    inner: A,
    shelf: Mutex<Shelf>,
}

/// Kept blocks, the oldest first.
struct Shelf {
    blocks: [Block; PLACES],
    len: usize,
    /// Bytes of them.
    kept: usize,
    /// Bytes of large blocks in use, and the most that there ever were.
    used: usize,
    used_max: usize,
}

#[derive(Clone, Copy)]
struct Block {
    at: *mut u8,
    layout: Layout,
}

// SAFETY: a block on the shelf belongs to nobody, and the shelf is behind a lock.
unsafe impl Send for Shelf {}

impl<A> Keeping<A> {
    /// Wraps `inner`; keeps nothing yet.
    pub const fn new(inner: A) -> Self {
        let none = Block { at: ptr::null_mut(), layout: Layout::new::<u8>() };
        Keeping {
            inner,
            shelf: Mutex::new(Shelf { blocks: [none; PLACES], len: 0, kept: 0, used: 0, used_max: 0 }),
        }
    }
}

impl Shelf {
    fn take(&mut self, i: usize) -> Block {
        let block = self.blocks[i];
        self.blocks.copy_within(i + 1..self.len, i);
        self.len -= 1;
        self.kept -= block.layout.size();
        block
    }

    /// The block of that layout which was put here last: it is the likeliest to be in cache.
    fn find(&mut self, layout: Layout) -> Option<Block> {
        let i = self.blocks[..self.len].iter().rposition(|b| b.layout == layout)?;
        Some(self.take(i))
    }

    /// Puts a block on the shelf; the oldest has to go if there is no place.
    fn put(&mut self, block: Block) -> Option<Block> {
        let oldest = (self.len == PLACES).then(|| self.take(0));
        self.blocks[self.len] = block;
        self.len += 1;
        self.kept += block.layout.size();
        oldest
    }
}

/// The size that is really taken: sizes that differ by less than an eighth share their blocks.
fn rounded(layout: Layout) -> Option<Layout> {
    if layout.size() < LARGE {
        return None;
    }
    let unit = 1usize << (layout.size().ilog2() - 3);
    let size = layout.size().checked_next_multiple_of(unit)?;
    Layout::from_size_align(size, layout.align()).ok()
}

impl<A: GlobalAlloc> Keeping<A> {
    /// A block of a rounded layout from the shelf, or none after room was made for one of the system's.
    fn kept(&self, layout: Layout) -> Option<*mut u8> {
        let mut shelf = self.shelf.lock().ok()?;
        shelf.used += layout.size();
        shelf.used_max = shelf.used_max.max(shelf.used);
        if let Some(block) = shelf.find(layout) {
            return Some(block.at);
        }
        while shelf.len > 0 && shelf.used + shelf.kept > shelf.used_max / 4 * 5 {
            let block = shelf.take(0);
            // SAFETY: the block came from `inner` with this layout, and nobody has it.
            unsafe { self.inner.dealloc(block.at, block.layout) };
        }
        None
    }
}

// SAFETY: blocks come from `inner` with the rounded layout and go back with it; one that is on the shelf is in use nowhere
// else, and one that is handed out has left the shelf.  Small blocks are `inner`'s own.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Keeping<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(large) = rounded(layout) else {
            // SAFETY: by the caller.
            return unsafe { self.inner.alloc(layout) };
        };
        // SAFETY: the rounded size is not 0.
        self.kept(large).unwrap_or_else(|| unsafe { self.inner.alloc(large) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(large) = rounded(layout) else {
            // SAFETY: by the caller.
            return unsafe { self.inner.alloc_zeroed(layout) };
        };
        match self.kept(large) {
            Some(at) => {
                // SAFETY: the block is at least that large and ours alone.
                unsafe { ptr::write_bytes(at, 0, layout.size()) };
                at
            }
            // SAFETY: the rounded size is not 0.
            None => unsafe { self.inner.alloc_zeroed(large) },
        }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        let Some(large) = rounded(layout) else {
            // SAFETY: by the caller.
            return unsafe { self.inner.dealloc(at, layout) };
        };
        let block = Block { at, layout: large };
        let gone = match self.shelf.lock() {
            Ok(mut shelf) => {
                shelf.used = shelf.used.saturating_sub(large.size());
                shelf.put(block)
            }
            Err(_) => Some(block),
        };
        if let Some(block) = gone {
            // SAFETY: the block came from `inner` with this layout, and nobody has it.
            unsafe { self.inner.dealloc(block.at, block.layout) };
        }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Ok(wanted) = Layout::from_size_align(size, layout.align()) else { return ptr::null_mut() };
        match (rounded(layout), rounded(wanted)) {
            // SAFETY: both are small: by the caller.
            (None, None) => unsafe { self.inner.realloc(at, layout, size) },
            (old, new) if old == new => at,
            _ => {
                // SAFETY: the new block is as large as `size`, the old one as `layout`, and they are not the same.
                unsafe {
                    let to = self.alloc(wanted);
                    if !to.is_null() {
                        ptr::copy_nonoverlapping(at, to, layout.size().min(size));
                        self.dealloc(at, layout);
                    }
                    to
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::System;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    /// Counts the bytes that are taken from the system.
    struct Counting(AtomicUsize);

    // SAFETY: as `System`.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            self.0.fetch_add(layout.size(), SeqCst);
            // SAFETY: by the caller.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
            self.0.fetch_sub(layout.size(), SeqCst);
            // SAFETY: by the caller.
            unsafe { System.dealloc(at, layout) }
        }
    }

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 16).unwrap()
    }

    #[test]
    fn a_kept_block_is_handed_out_again_and_zeroed_if_asked() {
        let keeping = Keeping::new(Counting(AtomicUsize::new(0)));
        let l = layout(1 << 20);
        // SAFETY: layouts are those of the blocks.
        unsafe {
            let a = keeping.alloc(l);
            a.write_bytes(7, l.size());
            keeping.dealloc(a, l);
            let b = keeping.alloc_zeroed(layout((1 << 20) - 100));
            assert_eq!((a, b.read(), b.add(1000).read()), (b, 0, 0));
            assert_eq!(keeping.inner.0.load(SeqCst), 1 << 20);
            keeping.dealloc(b, layout((1 << 20) - 100));
        }
    }

    #[test]
    fn what_is_kept_is_bounded_by_what_was_in_use() {
        let keeping = Keeping::new(Counting(AtomicUsize::new(0)));
        // SAFETY: layouts are those of the blocks.
        unsafe {
            for i in 1..200 {
                let l = layout(i << 18);
                let a = keeping.alloc(l);
                keeping.dealloc(a, l);
                assert!(keeping.inner.0.load(SeqCst) <= (i << 18) * 9 / 8 * 5 / 4, "at {i}");
            }
        }
    }

    #[test]
    fn growing_keeps_the_content() {
        let keeping = Keeping::new(Counting(AtomicUsize::new(0)));
        // SAFETY: layouts are those of the blocks.
        unsafe {
            let mut at = keeping.alloc(layout(100));
            at.write_bytes(5, 100);
            let mut size = 100;
            for larger in [LARGE - 1, LARGE, LARGE + 1, 3 * LARGE, 50] {
                at = keeping.realloc(at, layout(size), larger);
                size = larger;
                assert!((0..50).all(|i| at.add(i).read() == 5));
            }
            keeping.dealloc(at, layout(size));
        }
    }
}
