//! Where the images of a batch lie in an arena.

use crate::Window;

/// Images `[n, height, width, channels]` in an arena.
///
/// Offsets are for a batch of one: the storage of `n` examples begins at `n·start`, example after example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Where the storage begins.
    pub start: usize,
    /// Elements of one example's storage, with its margin and with channels that belong to others.
    pub image: usize,
    /// From the beginning of an example's storage to channel 0 of its first pixel.
    pub first: usize,
    /// From one row to the next.
    pub row: usize,
    /// From one pixel to the next.
    pub pixel: usize,
    /// Height and width.
    pub size: [usize; 2],
    /// Channels.
    pub channels: usize,
    /// `[top, left, bottom, right]` rows and columns of zeros around each image.
    pub margin: [usize; 4],
}

impl View {
    /// Images with a margin, whose storage begins at `start` and holds nothing else.
    ///
    /// ```
    /// use headstart_kernels::channels_last::View;
    /// let v = View::new(0, [2, 3], 4, [1, 1, 0, 0]);
    /// assert_eq!((v.pixel, v.row, v.first), (4, 16, 20));
    /// assert_eq!(v.image, 48, "3 rows of 4 pixels of 4 channels");
    /// ```
    pub fn new(start: usize, size: [usize; 2], channels: usize, margin: [usize; 4]) -> Self {
        let [top, left, bottom, right] = margin;
        let row = (size[1] + left + right) * channels;
        let image = (size[0] + top + bottom) * row;
        View {
            start,
            image: image.next_multiple_of(16),
            first: top * row + left * channels,
            row,
            pixel: channels,
            size,
            channels,
            margin,
        }
    }

    /// Some of the channels.
    pub fn channels(self, range: std::ops::Range<usize>) -> Self {
        assert!(range.end <= self.channels, "channels {range:?} of {}", self.channels);
        View { first: self.first + range.start, channels: range.len(), ..self }
    }

    /// Pixels of an image.
    pub(super) fn pixels(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Runs of memory in a row, and the length of one: the row as a whole where nothing lies between its pixels.
    pub(super) fn runs(&self) -> (usize, usize) {
        let w = self.size[1];
        if self.pixel == self.channels { (1, w * self.channels) } else { (w, self.channels) }
    }

    /// Where channel 0 of a pixel lies, in a batch of `n`.
    #[inline(always)]
    pub(super) fn at(&self, n: usize, image: usize, y: usize, x: usize) -> usize {
        self.start * n + image * self.image + self.first + y * self.row + x * self.pixel
    }

    /// Panics unless `n` examples lie in an arena of `len` elements.
    pub(super) fn check(&self, len: usize, n: usize) {
        let ([h, w], [top, left, bottom, right]) = (self.size, self.margin);
        assert!(h > 0 && w > 0 && self.channels > 0, "{self:?} is empty");
        assert!(top * self.row + left * self.pixel <= self.first, "the margin of {self:?}");
        let last = self.first + (h - 1 + bottom) * self.row + (w - 1 + right) * self.pixel;
        assert!(last + self.channels <= self.image, "an image of {self:?} lies in its storage");
        assert!((self.start + self.image) * n <= len, "{n} images of {self:?} lie in {len} elements");
    }

    /// Panics if writing `self` could change what `other` reads.
    pub(super) fn check_apart(&self, other: &View) {
        let elsewhere = self.start + self.image <= other.start || other.start + other.image <= self.start;
        let other_channels = || {
            let first = |v: &View| v.first % v.pixel;
            let layout = |v: &View| (v.start, v.image, v.row, v.pixel);
            layout(self) == layout(other)
                && (first(self) + self.channels <= first(other)
                    || first(other) + other.channels <= first(self))
        };
        assert!(elsewhere || other_channels(), "{self:?} overlaps {other:?}");
    }

    /// Panics unless a window over `self` makes images of the size of `to`, reads nothing beyond the margin, and writing
    /// them changes neither what it reads nor the residual, which has their shape.
    pub(super) fn check_window(&self, d: &Window, to: &View, residual: Option<&View>) {
        assert_eq!((d.size, d.out()), (self.size, to.size), "sizes of {d:?}");
        assert_eq!(d.c, self.channels, "channels");
        let needed = d.margin();
        assert!(
            needed.iter().zip(self.margin).all(|(&needed, margin)| needed <= margin),
            "a margin of {needed:?} for {d:?} around {self:?}"
        );
        to.check_apart(self);
        if let Some(r) = residual {
            let shape = |v: &View| (v.size, v.channels);
            assert_eq!(shape(r), shape(to), "the residual has the shape of the result");
            to.check_apart(r);
        }
    }
}
