//! A plane with its padding around it, every s-th row and column apart from the others ("polyphase"): what one tap of a
//! filter reads is then a run of memory in every row, whatever the stride.

use crate::Window;

/// Where a padded plane lies, and what each tap reads of it.
pub(crate) struct Phases<'a> {
    d: &'a Window,
    pub(crate) out: [usize; 2],
    /// Height and width of one phase.
    pub(crate) size: [usize; 2],
    /// By tap: the first element read.
    pub(crate) starts: Vec<usize>,
    /// Elements from the first that a tap reads to the last.
    pub(crate) run: usize,
}

impl<'a> Phases<'a> {
    pub(crate) fn new(d: &'a Window) -> Self {
        let (padded, out) = (d.padded(), d.out());
        let size: [usize; 2] = std::array::from_fn(|i| padded[i].div_ceil(d.stride[i]));
        let mut phases = Phases { d, out, size, starts: Vec::new(), run: (out[0] - 1) * size[1] + out[1] };
        for tap in 0..d.taps() {
            let [a, b] = [tap / d.kernel[1], tap % d.kernel[1]];
            phases.starts.push(phases.index([a * d.dilation[0], b * d.dilation[1]]));
        }
        phases
    }

    /// Where an element of the padded plane lies.
    fn index(&self, [y, x]: [usize; 2]) -> usize {
        let ([s_y, s_x], [h, w]) = (self.d.stride, self.size);
        ((y % s_y * s_x + x % s_x) * h + y / s_y) * w + x / s_x
    }

    /// Zeros for a plane, and for a gradient that is spread over its rows.
    pub(crate) fn buffers(&self) -> [Vec<f32>; 2] {
        [vec![0.0; self.len()], vec![0.0; self.run]]
    }

    /// Elements of a plane.
    pub(crate) fn len(&self) -> usize {
        let [s_y, s_x] = self.d.stride;
        s_y * s_x * self.size[0] * self.size[1]
    }

    /// Lays a plane out; what is padding stays the 0 that it was made.
    pub(crate) fn lay(&self, x: &[f32], plane: &mut [f32]) {
        self.runs(|at, start, len, step| {
            let to = &mut plane[start..start + len];
            if step == 1 {
                to.copy_from_slice(&x[at..at + len]);
            } else {
                to.iter_mut().zip(x[at..].iter().step_by(step)).for_each(|(to, x)| *to = *x);
            }
        });
    }

    /// Lays the rows of a gradient as far apart as those of a plane.
    pub(crate) fn spread(&self, grad: &[f32], spread: &mut [f32]) {
        let ow = self.out[1];
        for (to, from) in spread.chunks_mut(self.size[1]).zip(grad.chunks_exact(ow)) {
            to[..ow].copy_from_slice(from);
        }
    }

    /// Calls `f(at, start, len, step)` for every run: elements `at, at + step, …` of a plane lie at `start…start + len`.
    pub(crate) fn runs(&self, mut f: impl FnMut(usize, usize, usize, usize)) {
        let ([h, w], s_x, [top, left, ..]) = (self.d.size, self.d.stride[1], self.d.padding);
        for y in 0..h {
            for x in 0..s_x.min(w) {
                f(y * w + x, self.index([y + top, x + left]), (w - x).div_ceil(s_x), s_x);
            }
        }
    }
}
