//! Memory for the values of a run: one range of addresses whose pages become real when they are first written.
//!
//! A step of training makes and ends the same hundreds of megabytes as the one before, in pieces of a hundred sizes.  An allocator for
//! all purposes gives large pieces back to the system, which clears every page anew (a tenth to a third of a step), or keeps them
//! where they do not fit what comes next (a quarter of all memory).  Here pieces that end are joined with their neighbours, and the smallest that fits is
//! taken.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use memmap2::{MmapMut, MmapOptions};

/// Numbers in a page; pieces are whole pages.
const PAGE: usize = 4096 / size_of::<f32>();
/// Addresses that are asked for, bytes: the next where the system refuses.
const RESERVED: [u64; 4] = [1 << 38, 1 << 36, 1 << 34, 1 << 32];

/// Numbers of one's own, which go back to where they were taken from.
#[derive(Debug)]
pub struct Block {
    start: NonNull<f32>,
    len: usize,
    of: &'static Mutex<Arena>,
}

// SAFETY: nobody else reads or writes what a block points to, as with a box.
unsafe impl Send for Block {}
// SAFETY: as above; a shared block is only read.
unsafe impl Sync for Block {}

impl Deref for Block {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: so many numbers of the arena, whose pages are zero until they are written, belong to this block alone.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut arena = lock(self.of);
        let start = (self.start.as_ptr() as usize - arena.base.as_ptr() as usize) / size_of::<f32>();
        arena.join(start, pages(self.len));
    }
}

/// `len` numbers, which may be anything; none where there is no such memory: on systems without it, and where it is used up.
///
/// ```
/// if let Some(mut block) = headstart_kernels::arena::take(5) {
///     block.fill(2.0);
///     assert_eq!(block.iter().sum::<f32>(), 10.0);
/// }
/// ```
pub fn take(len: usize) -> Option<Block> {
    taken(arena()?, len)
}

/// Gives the pages of what nobody holds back to the system.
pub fn give_back() {
    if let Some(arena) = arena() {
        lock(arena).give_back();
    }
}

fn arena() -> Option<&'static Mutex<Arena>> {
    static ARENA: OnceLock<Option<Mutex<Arena>>> = OnceLock::new();
    let reserve = || RESERVED.iter().find_map(|&bytes| Arena::new(usize::try_from(bytes).ok()?));
    ARENA.get_or_init(|| reserve().map(Mutex::new)).as_ref()
}

fn taken(of: &'static Mutex<Arena>, len: usize) -> Option<Block> {
    let mut arena = lock(of);
    let start = arena.take(pages(len))?;
    // SAFETY: it is inside of the map.
    let start = unsafe { arena.base.add(start) };
    Some(Block { start, len, of })
}

fn lock(arena: &Mutex<Arena>) -> MutexGuard<'_, Arena> {
    // No state between two statements is wrong.
    arena.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pages(len: usize) -> usize {
    len.max(1).next_multiple_of(PAGE)
}

/// Numbers are counted from the start of the map.
#[derive(Debug)]
struct Arena {
    map: MmapMut,
    base: NonNull<f32>,
    /// Of the map.
    len: usize,
    /// Length by start of what lies free before `end`, no two side by side.
    free: BTreeMap<usize, usize>,
    /// Nobody holds what lies behind.
    end: usize,
    /// Nobody ever did, or its pages were given back.
    fresh: usize,
}

// SAFETY: `base` points to the map, which is its own.
unsafe impl Send for Arena {}

impl Arena {
    /// None where the system has no pages that become real later, or refuses so many.
    fn new(bytes: usize) -> Option<Self> {
        if !cfg!(any(target_os = "linux", target_os = "macos")) {
            return None;
        }
        let mut map = MmapOptions::new().len(bytes).no_reserve_swap().map_anon().ok()?;
        let base = NonNull::new(map.as_mut_ptr().cast())?;
        // Large pages save a few hundredths of a step; where there are none, it works without.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Some(Arena { map, base, len: bytes / size_of::<f32>(), free: BTreeMap::new(), end: 0, fresh: 0 })
    }

    /// The start of `len` numbers: the smallest piece that fits, else at the end.
    fn take(&mut self, len: usize) -> Option<usize> {
        let fits = self.free.iter().filter(|(_, free)| **free >= len);
        if let Some((&start, &free)) = fits.min_by_key(|(start, free)| (**free, **start)) {
            self.free.remove(&start);
            if free > len {
                self.free.insert(start + len, free - len);
            }
            return Some(start);
        }
        let (start, end) = (self.end, self.end.checked_add(len)?);
        if end > self.len {
            return None;
        }
        (self.end, self.fresh) = (end, self.fresh.max(end));
        Some(start)
    }

    fn join(&mut self, mut start: usize, mut len: usize) {
        if let Some(behind) = self.free.remove(&(start + len)) {
            len += behind;
        }
        if let Some((&before, &free)) = self.free.range(..start).next_back()
            && before + free == start
        {
            self.free.remove(&before);
            (start, len) = (before, free + len);
        }
        if start + len == self.end {
            self.end = start;
        } else {
            self.free.insert(start, len);
        }
    }

    fn give_back(&mut self) {
        let behind = (self.end, self.fresh - self.end);
        for (start, len) in self.free.iter().map(|(start, len)| (*start, *len)).chain([behind]) {
            let [offset, len] = [start, len].map(|n| n * size_of::<f32>());
            // SAFETY: nobody holds these pages; whoever takes them finds zeros, which are numbers.
            #[cfg(unix)]
            let _ =
                unsafe { self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, len) };
        }
        self.fresh = self.end;
    }
}

#[cfg(all(test, target_os = "linux", not(miri)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn small() -> &'static Mutex<Arena> {
        Box::leak(Box::new(Mutex::new(Arena::new(40 * 4096).expect("so little"))))
    }

    #[test]
    fn what_ends_is_joined_and_taken_again() {
        let arena = small();
        let place = |b: &Block| (b.as_ptr() as usize - lock(arena).base.as_ptr() as usize) / 4096;
        let [a, b, c, d] = [1, 2 * PAGE, 3, 4].map(|len| taken(arena, len).unwrap());
        assert_eq!([&a, &b, &c, &d].map(place), [0, 1, 3, 4]);
        drop(a);
        drop(b);
        // Three pages are free before it; one would do, but none is free alone.
        let e = taken(arena, PAGE).unwrap();
        assert_eq!(place(&e), 0);
        drop(c);
        let f = taken(arena, 3 * PAGE).unwrap();
        assert_eq!(place(&f), 1);
        drop([e, f, d]);
        assert_eq!(lock(arena).end, 0);
        assert!(lock(arena).free.is_empty());
        assert!(taken(arena, 41 * PAGE).is_none() && taken(arena, usize::MAX / 2).is_none());
        assert!(taken(arena, 40 * PAGE).is_some());
    }

    #[test]
    fn pages_that_were_given_back_are_zero_and_the_others_stay() {
        let arena = small();
        let [mut a, mut b, mut c] = [PAGE; 3].map(|len| taken(arena, len).unwrap());
        [&mut a, &mut b, &mut c].into_iter().for_each(|block| block.fill(3.0));
        drop([a, c]);
        lock(arena).give_back();
        assert!(b.iter().all(|x| *x == 3.0));
        let again = taken(arena, PAGE).unwrap();
        assert!(again.iter().all(|x| *x == 0.0));
    }

    proptest! {
        /// Blocks come and go; each keeps what was written to it.
        #[test]
        fn blocks_never_touch(steps in prop::collection::vec((1usize..5 * PAGE, any::<prop::sample::Index>(), any::<bool>()), 1..60)) {
            let arena = small();
            let mut held: Vec<(f32, Block)> = Vec::new();
            for (i, (len, which, takes)) in steps.into_iter().enumerate() {
                if takes {
                    if let Some(mut block) = taken(arena, len) {
                        block.fill(i as f32);
                        held.push((i as f32, block));
                    }
                } else if !held.is_empty() {
                    held.swap_remove(which.index(held.len()));
                }
                prop_assert!(held.iter().all(|(value, block)| block.iter().all(|x| x == value)));
            }
            held.clear();
            prop_assert_eq!(lock(arena).end, 0);
        }
    }
}
