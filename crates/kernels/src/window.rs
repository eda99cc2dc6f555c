//! Where a window slides over planes: the sizes that every convolution shares.

use std::ops::Range;

/// Sizes of a convolution of `x [n, c, h, w]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Examples.
    pub n: usize,
    /// Channels of `x`.
    pub c: usize,
    /// Height and width of `x`.
    pub size: [usize; 2],
    /// Height and width of the filter.
    pub kernel: [usize; 2],
    /// Step of the window.
    pub stride: [usize; 2],
    /// Distance between the filter's taps.
    pub dilation: [usize; 2],
    /// `[top, left, bottom, right]` zeros.
    pub padding: [usize; 4],
}

impl Window {
    /// Height and width of the result.
    ///
    /// ```
    /// use headstart_kernels::Window;
    /// let d = Window {
    ///     n: 1, c: 1, size: [8, 8], kernel: [3, 3], stride: [2, 2], dilation: [1, 1], padding: [0, 0, 1, 1],
    /// };
    /// assert_eq!(d.out(), [4, 4]);
    /// ```
    pub fn out(&self) -> [usize; 2] {
        let padded = self.padded();
        std::array::from_fn(|i| {
            (padded[i] - (self.kernel[i] - 1) * self.dilation[i] - 1) / self.stride[i] + 1
        })
    }

    /// Height and width of `x` with its padding.
    pub(crate) fn padded(&self) -> [usize; 2] {
        let [top, left, bottom, right] = self.padding;
        [self.size[0] + top + bottom, self.size[1] + left + right]
    }

    /// `[top, left, bottom, right]` rows and columns of the padding that are read: the last may not be.
    ///
    /// ```
    /// use headstart_kernels::Window;
    /// let d = Window {
    ///     n: 1, c: 1, size: [8, 8], kernel: [3, 3], stride: [2, 2], dilation: [1, 1], padding: [1; 4],
    /// };
    /// assert_eq!(d.margin(), [1, 1, 0, 0]);
    /// ```
    pub fn margin(&self) -> [usize; 4] {
        let (out, [top, left, ..]) = (self.out(), self.padding);
        let after = |i: usize, before: usize| {
            let read = (out[i] - 1) * self.stride[i] + (self.kernel[i] - 1) * self.dilation[i] + 1;
            read.saturating_sub(before + self.size[i])
        };
        [top, left, after(0, top), after(1, left)]
    }

    /// Rows or columns of the image under the window at a place of an axis, and how many there are with the padding.  Without dilation.
    pub(crate) fn under(&self, axis: usize, at: usize) -> (Range<usize>, usize) {
        let (first, before, size) = (at * self.stride[axis], self.padding[axis], self.size[axis]);
        let end = (first + self.kernel[axis]).min(before + size + self.padding[axis + 2]);
        let inside = |i: usize| i.clamp(before, before + size) - before;
        (inside(first)..inside(end), end.saturating_sub(first))
    }

    /// Positions of the filter in which it reads `x`.
    pub(crate) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Elements of one example of `x`.
    pub(crate) fn x_len(&self) -> usize {
        self.c * self.size[0] * self.size[1]
    }

    /// Filters of a dense weight of so many elements.
    pub(crate) fn filters(&self, weight_len: usize) -> usize {
        let o = weight_len / (self.c * self.taps()).max(1);
        assert_eq!(weight_len, o * self.c * self.taps(), "elements of the weight of {self:?}");
        o
    }
}
