//! What a tile of a product is, and who computes it.

use crate::Isa;

/// A tile of a product: `c = a·b`, or `c += a·b`, over packed panels.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// Steps of the sum.
    pub(super) k: usize,
    /// `[k, mr]`.
    pub(super) a: *const f32,
    /// `[k, nr]`.
    pub(super) b: *const f32,
    /// The tile's first element.
    pub(super) c: *mut f32,
    /// Elements from one row of `c` to the next.
    pub(super) ld: usize,
    /// Rows of the tile, 1 to `mr`.
    pub(super) rows: usize,
    /// Columns of the tile, 1 to `nr`.
    pub(super) cols: usize,
    /// Adds to `c`.
    pub(super) add: bool,
}

/// Computes tiles with one set of instructions.
///
/// Every element is one chain of products over `k`, in order, whatever the size of the tile.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    /// Rows of a tile.
    pub(super) mr: usize,
    /// Columns of a tile.
    pub(super) nr: usize,
    /// Computes a tile.
    ///
    /// # Safety
    /// `a` holds `k·mr` numbers and `b` `k·nr`; `rows` rows of `cols` numbers, `ld` apart, can be written at `c`; the
    /// machine has the instructions.
    pub(super) run: unsafe fn(Tile),
}

impl Kernel {
    /// The kernel for a set of instructions that this machine has.
    pub(super) fn of(isa: Isa) -> Self {
        assert!(isa.is_available(), "{isa:?} on this machine");
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => super::avx512::KERNEL,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => super::avx2::KERNEL,
            _ => super::portable::KERNEL,
        }
    }
}
