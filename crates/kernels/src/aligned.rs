//! Floats that begin at a line of cache.

use std::ops::{Deref, DerefMut};

/// Floats of one line.
const LINE: usize = 16;

/// A line of cache.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// A slice of floats whose first lies at the beginning of a line of cache, so that vectors of sixteen do not straddle two.
///
/// ```
/// let mut floats = headstart_kernels::Floats::zeros(3);
/// floats[2] = 1.0;
/// assert_eq!((&floats[..], floats.as_ptr() as usize % 64), (&[0.0, 0.0, 1.0][..], 0));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Floats {
    lines: Vec<Line>,
    len: usize,
}

impl Floats {
    /// Nothing, which takes no memory.
    pub(crate) const fn none() -> Self {
        Floats { lines: Vec::new(), len: 0 }
    }

    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        Floats { lines: vec![Line([0.0; LINE]); len.div_ceil(LINE)], len }
    }

    /// `values`, and zeros behind them up to `len`.
    pub(crate) fn padded(values: &[f32], len: usize) -> Self {
        let mut floats = Self::zeros(len);
        floats[..values.len()].copy_from_slice(values);
        floats
    }
}

impl Deref for Floats {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: a line is sixteen floats and nothing else, and there are enough lines for `len` of them.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Floats {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, and the lines are borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}
