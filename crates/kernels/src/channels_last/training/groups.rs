//! Groups of channels, each with filters of its own (Krizhevsky et al., 2012; Xie et al., 2017): a convolution each, of some channels of
//! the same images.
//!
//! Groups of fewer channels than a vector has are joined: filters then have zeros where they do not look, and no product is narrower
//! for it.

use std::borrow::Cow;
use std::ops::Range;

use rayon::prelude::*;

use super::scratch::Scratch;
use crate::Window;

/// Channels and filters that a convolution has at least, if it may: the lanes of a vector.
const LEAST: usize = 16;

/// Groups, some of them joined to one.
pub(super) struct Groups {
    n: usize,
    /// How many each was.
    joined: usize,
    /// Over the channels of one.
    pub(super) window: Window,
    /// Its filters.
    filters: usize,
}

impl Groups {
    /// Of a window over the channels of all groups, and a weight `[o, c/groups, kh, kw]` of so many elements.
    pub(super) fn new(d: &Window, groups: usize, weight_len: usize) -> Self {
        assert!(groups > 0 && d.c.is_multiple_of(groups), "{} channels in {groups} groups", d.c);
        let one = Window { c: d.c / groups, ..*d };
        let filters = one.filters(weight_len);
        assert!(filters.is_multiple_of(groups), "{filters} filters in {groups} groups");
        let (filters, least) = (filters / groups, one.c.min(filters / groups));
        let joined = (1..groups).find(|n| groups.is_multiple_of(*n) && n * least >= LEAST).unwrap_or(groups);
        let window = Window { c: one.c * joined, ..one };
        Groups { n: groups / joined, joined, window, filters: filters * joined }
    }

    pub(super) fn all_filters(&self) -> usize {
        self.n * self.filters
    }

    /// Calls `f` for every group, with its channels, those of the result, and its filters of `weight`, `[filters, window.c, kh, kw]`.
    pub(super) fn for_each(&self, weight: &[f32], f: impl Fn([Range<usize>; 2], &[f32]) + Sync + Send) {
        (0..self.n)
            .into_par_iter()
            .with_max_len(1)
            .for_each(|i| f(self.ranges(i), &self.filters_of(i, weight)));
    }

    fn ranges(&self, i: usize) -> [Range<usize>; 2] {
        [self.window.c, self.filters].map(|n| i * n..(i + 1) * n)
    }

    fn filters_of<'a>(&self, i: usize, weight: &'a [f32]) -> Cow<'a, [f32]> {
        let own = &weight[i * self.own_len()..][..self.own_len()];
        if self.joined == 1 {
            return Cow::Borrowed(own);
        }
        let mut filters = vec![0.0; own.len() * self.joined];
        for (range, own) in self.looks().zip(own.chunks_exact(self.line())) {
            filters[range].copy_from_slice(own);
        }
        Cow::Owned(filters)
    }

    /// Has `f` make the gradient of every group's filters of its channels and those of the result.
    pub(super) fn make_filters(
        &self,
        dw: &mut [f32],
        f: impl Fn([Range<usize>; 2], &mut [f32]) + Sync + Send,
    ) {
        dw.par_chunks_exact_mut(self.own_len()).enumerate().with_max_len(1).for_each(|(i, own)| {
            if self.joined == 1 {
                return f(self.ranges(i), own);
            }
            let mut filters = Scratch::new(own.len() * self.joined);
            f(self.ranges(i), &mut filters);
            for (range, own) in self.looks().zip(own.chunks_exact_mut(self.line())) {
                own.copy_from_slice(&filters[range]);
            }
        });
    }

    /// Elements of a group's part of the weight.
    fn own_len(&self) -> usize {
        self.filters * self.line()
    }

    /// Elements of one filter of the weight.
    fn line(&self) -> usize {
        self.window.c / self.joined * self.window.taps()
    }

    /// Where each filter of joined groups looks.
    fn looks(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let (line, each) = (self.line(), self.filters / self.joined);
        (0..self.filters).map(move |i| {
            let first = (i * self.joined + i / each) * line;
            first..first + line
        })
    }
}
