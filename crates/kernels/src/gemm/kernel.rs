//! What a tile of a product is, and who computes it.

use crate::Isa;
use crate::precision::round_bf16;
use crate::simd::widest_fn;

/// A tile of a product: `c = a·b`, or `c += a·b`, over packed panels.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// Steps of the sum, in groups.
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

/// `$tile::<R, V>(t)` for the `R` rows and `V` vectors of columns, at most three, that a tile has.
macro_rules! by_shape {
    ($tile:ident, $t:ident, $lanes:ident, $($rows:literal)+) => {
        match ($t.rows, $t.cols.div_ceil($lanes)) {
            $(
                ($rows, 1) => $tile::<$rows, 1>($t),
                ($rows, 2) => $tile::<$rows, 2>($t),
                ($rows, 3) => $tile::<$rows, 3>($t),
            )+
            (rows, vectors) => unreachable!("a tile of {rows} rows and {vectors} vectors"),
        }
    };
}
#[cfg(target_arch = "x86_64")]
pub(super) use by_shape;

/// Computes tiles with one set of instructions.
///
/// Every element is one chain of products over `k`, in order, whatever the size of the tile.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    /// Rows of a tile.
    pub(super) mr: usize,
    /// Columns of a tile.
    pub(super) nr: usize,
    /// Steps of the sum that lie side by side in an element of a panel.
    pub(super) group: usize,
    /// Turns a packed panel `[k, width]` into what `run` reads, in place.
    pub(super) prepare: Option<fn(&mut [f32], usize)>,
    /// Computes a tile.
    ///
    /// # Safety
    /// `a` holds `k·mr` elements and `b` `k·nr`; `rows` rows of `cols` numbers, `ld` apart, can be written at `c`; the
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

    /// The kernel whose operands are rounded to bf16: with `vdpbf16ps` where `isa` is AVX-512 and the machine has it.
    pub(super) fn of_bf16(isa: Isa) -> Self {
        let plain = Kernel::of(isa);
        #[cfg(target_arch = "x86_64")]
        if isa == Isa::Avx512 && super::bf16::is_available() {
            return super::bf16::KERNEL;
        }
        Kernel { prepare: Some(round_panel), ..plain }
    }
}

widest_fn! {
    /// Rounds every number of a panel to bf16.
    fn round_panel(panel: &mut [f32], _width: usize) {
        for v in panel {
            *v = round_bf16(*v);
        }
    }
}
