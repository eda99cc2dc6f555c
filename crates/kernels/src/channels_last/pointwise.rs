//! What is done pixel by pixel where no convolution can do it along the way.

use super::each;
use super::tile::Finish;
use super::view::View;
use crate::Floats;
use crate::gemm::Shared;
use crate::simd::widest_fn;

/// `y = finish(x·scale + bias)` and its relatives.
#[derive(Debug)]
pub struct Pointwise {
    kind: Kind,
    from: View,
    to: View,
    finish: Finish,
}

#[derive(Debug)]
enum Kind {
    Copy,
    /// Of the same shape.
    Add(View),
    /// A factor a channel, from images of one pixel: squeeze and excitation (Hu, Shen and Sun, 2017).
    Gate(View),
    /// Scale and bias by channel.
    Affine(Floats, Floats),
}

impl Pointwise {
    /// `y = finish(x)`.  `to` may be `from`.
    pub fn copy([from, to]: [View; 2], finish: Finish) -> Self {
        Self::new(Kind::Copy, [from, to], finish)
    }

    /// `y = finish(x + other)`.  `to` may be one of them.
    pub fn add([from, to]: [View; 2], other: View, finish: Finish) -> Self {
        assert_eq!((other.size, other.channels), (to.size, to.channels), "shapes of a sum");
        // What is in place is what is added to.
        let (from, other) = if other == to { (other, from) } else { (from, other) };
        to.check_apart(&other);
        Self::new(Kind::Add(other), [from, to], finish)
    }

    /// `y = finish(x·gate)` with a gate a channel, `[n, 1, 1, channels]`.  `to` may be `from`.
    pub fn gate([from, to]: [View; 2], gate: View, finish: Finish) -> Self {
        assert_eq!((gate.size, gate.channels), ([1, 1], to.channels), "a gate a channel");
        to.check_apart(&gate);
        Self::new(Kind::Gate(gate), [from, to], finish)
    }

    /// `y = finish(x·scale + bias)` with numbers a channel: batch norm by running statistics.  `to` may be `from`.
    pub fn affine([from, to]: [View; 2], scale: &[f32], bias: &[f32], finish: Finish) -> Self {
        assert_eq!([scale.len(), bias.len()], [to.channels; 2], "scale and bias by channel");
        let [scale, bias] = [scale, bias].map(|values| Floats::padded(values, values.len()));
        Self::new(Kind::Affine(scale, bias), [from, to], finish)
    }

    fn new(kind: Kind, [from, to]: [View; 2], finish: Finish) -> Self {
        assert_eq!((from.size, from.channels), (to.size, to.channels), "shapes");
        if from != to {
            to.check_apart(&from);
        }
        Pointwise { kind, from, to, finish }
    }

    /// Computes `n` examples, on all threads or on this one.
    pub fn run(&self, arena: &mut [f32], n: usize, in_parallel: bool) {
        self.from.check(arena.len(), n);
        self.to.check(arena.len(), n);
        if let Kind::Add(other) | Kind::Gate(other) = &self.kind {
            other.check(arena.len(), n);
        }
        let h = self.to.size[0];
        let arena = Shared::new(arena);
        let row = |i: usize| {
            // SAFETY: the views lie in the arena; what is read is written by nobody, or by this thread at this place.
            unsafe { run_row(self, arena, n, [i / h, i % h]) };
        };
        each(n * h, in_parallel, row);
    }
}

widest_fn! {
    /// # Safety
    /// The views lie in the arena, and nobody else writes this row's values, read or written.
    unsafe fn run_row(op: &Pointwise, arena: Shared, n: usize, at: [usize; 2]) {
        let ([image, y], c) = (at, op.to.channels);
        for x in 0..op.to.size[1] {
            // SAFETY: `c` values of a view; those that are written are not borrowed while they are.
            let (read, to) = unsafe {
                let read = |at: usize| std::slice::from_raw_parts(arena.at(at).cast_const(), c);
                let from = arena.at(op.from.at(n, image, y, x)).cast_const();
                let to = arena.at(op.to.at(n, image, y, x));
                // In place, if they are the same.
                std::ptr::copy(from, to, if std::ptr::eq(from, to) { 0 } else { c });
                (read, std::slice::from_raw_parts_mut(to, c))
            };
            match &op.kind {
                Kind::Copy => {}
                Kind::Add(other) => {
                    for (y, v) in to.iter_mut().zip(read(other.at(n, image, y, x))) {
                        *y += v;
                    }
                }
                Kind::Gate(gate) => {
                    for (y, v) in to.iter_mut().zip(read(gate.at(n, image, 0, 0))) {
                        *y *= v;
                    }
                }
                Kind::Affine(scale, bias) => {
                    for ((y, s), b) in to.iter_mut().zip(scale.iter()).zip(bias.iter()) {
                        *y = *y * s + b;
                    }
                }
            }
            op.finish.apply(to);
        }
    }
}
