//! Images laid out with their margins, as the numbers that products take.  Where a filter reads short runs, as the first layer of a network
//! does of three colours, or a group of channels, looking for edges and rounding takes longer than the product; from here a run is a
//! copy of whole vectors.

use rayon::prelude::*;

use super::super::rounding::{halves, rounded};
use super::super::tile::Segment;
use super::rows::{Images, Reads, Run};
use super::scratch::Scratch;
use crate::Bf16;
use crate::gemm::Operands;
use crate::simd::widest_fn;

/// Numbers of the longest run for which it pays.
const RUN: usize = 32;
/// Bytes that are copied at once.
const BLOCK: usize = 64;

/// Images with zeros around them.
pub(super) struct Laid {
    words: Scratch,
    in_halves: bool,
    /// Numbers of an image, and from one position to the next.
    image: usize,
    step: [usize; 2],
    /// By run: where it begins from its position on, and its numbers.
    runs: Vec<[usize; 2]>,
}

impl Laid {
    /// If it pays, or if runs of pixels are none of memory.
    pub(super) fn of(reads: &Reads<'_>, operands: Operands) -> Option<Self> {
        let is_exact = operands == Operands::F32;
        let is_short = |run: &Run| run.len * reads.images.channels <= RUN;
        let pays =
            reads.runs.len() > 1 && reads.runs.iter().all(is_short) && (is_exact || operands.in_pairs());
        let is_readable = reads.images.is_whole() || is_exact && reads.is_in_place();
        (pays || !is_readable).then(|| Laid::new(reads, operands))
    }

    pub(super) fn new(reads: &Reads<'_>, operands: Operands) -> Self {
        let (images, runs, in_halves) = (reads.images, reads.runs, operands.in_pairs());
        let c = images.channels;
        let before = [0, 1].map(|i| runs.iter().map(|run| -run.at[i]).max().unwrap_or(0).max(0) as usize);
        let behind = |i: usize, len: fn(&Run) -> usize| {
            let ends = runs.iter().map(|run| (run.at[i] + len(run) as isize).max(1) as usize);
            (reads.grid[i] - 1) * reads.step[i] + ends.max().unwrap_or(1) + before[i]
        };
        let size = [behind(0, |_| 1), behind(1, |run| run.len)];
        let row = size[1] * c;
        let image = size[0] * row;
        let mut words = Scratch::new((reads.n * image).div_ceil(if in_halves { 2 } else { 1 }) + BLOCK / 4);
        let [h, w] = images.size;
        // A row without margins may be longer than what is read of it.
        let inside = w.min(size[1] - before[1]);
        let of_row = |i: usize| {
            let y = (i % size[0]).checked_sub(before[0]).filter(|&y| y < h)?;
            Some((i / size[0], y))
        };
        let laid_row = |i: usize| Row { images, at: of_row(i), before: before[1], n: inside };
        if in_halves {
            let to = Bf16::in_words_mut(&mut words, reads.n * image).par_chunks_exact_mut(row);
            to.enumerate().for_each(|(i, to)| laid_row(i).lay(to, halves));
        } else {
            let to = words[..reads.n * image].par_chunks_exact_mut(row);
            match operands == Operands::F32 {
                true => to.enumerate().for_each(|(i, to)| laid_row(i).lay(to, copy)),
                false => to.enumerate().for_each(|(i, to)| laid_row(i).lay(to, rounded)),
            }
        }
        let at = |run: &Run, i: usize| (run.at[i] + before[i] as isize) as usize;
        let runs = runs.iter().map(|run| [at(run, 0) * row + at(run, 1) * c, run.len * c]).collect();
        Laid { words, in_halves, image, step: [reads.step[0] * row, reads.step[1] * c], runs }
    }

    /// Where runs lie from a position on, in words, if all of them begin and end with one.
    pub(super) fn segments(&self) -> Option<Vec<Segment>> {
        let a_word = self.a_word();
        let places = self.runs.iter().flatten().chain(&self.step).chain([&self.image]);
        let segment = |&[start, len]: &[usize; 2]| Segment { offset: start / a_word, len: len / a_word };
        let are_whole = { places }.all(|n| n.is_multiple_of(a_word));
        are_whole.then(|| self.runs.iter().map(segment).collect())
    }

    /// From a position on: where [`Laid::segments`] lie.
    pub(super) fn read(&self, position: [usize; 3]) -> *const f32 {
        self.words[self.at(position) / self.a_word()..].as_ptr()
    }

    /// Numbers of a word.
    fn a_word(&self) -> usize {
        if self.in_halves { 2 } else { 1 }
    }

    /// From what is read at a position on, by run, and its numbers; at the next position of a row it lies [`Laid::pixel`] behind.
    /// Not in bf16.
    pub(super) fn runs(&self, position: [usize; 3]) -> impl Iterator<Item = (&[f32], usize)> {
        debug_assert!(!self.in_halves, "numbers in f32");
        let at = self.at(position);
        self.runs.iter().map(move |&[start, len]| (&self.words[at + start..], len))
    }

    pub(super) fn pixel(&self) -> usize {
        self.step[1]
    }

    /// Where a position lies, in numbers.
    fn at(&self, [image, i, j]: [usize; 3]) -> usize {
        image * self.image + i * self.step[0] + j * self.step[1]
    }

    /// Writes all runs of a position one behind the other, and up to [`BLOCK`] bytes more.
    ///
    /// # Safety
    /// So many can be written at `to`.
    pub(super) unsafe fn gather(&self, position: [usize; 3], to: *mut f32) {
        // SAFETY: by the caller.
        unsafe { gather(self, self.at(position), to) }
    }
}

widest_fn! {
    /// # Safety
    /// As [`Laid::gather`].
    unsafe fn gather(laid: &Laid, at: usize, to: *mut f32) {
        let size = 4 / laid.a_word();
        let (from, mut to) = (laid.words.as_ptr().cast::<u8>(), to.cast::<u8>());
        for &[start, len] in &laid.runs {
            let bytes = len * size;
            // SAFETY: a run lies in the images, behind which there is a block more.
            unsafe {
                let from = from.add((at + start) * size);
                for done in (0..bytes).step_by(BLOCK) {
                    to.add(done)
                        .cast::<[u8; BLOCK]>()
                        .write_unaligned(from.add(done).cast::<[u8; BLOCK]>().read_unaligned());
                }
                to = to.add(bytes);
            }
        }
    }
}

fn copy(from: &[f32], to: &mut [f32]) {
    to.copy_from_slice(from);
}

/// A row of `n` pixels of an image, `before` others behind the edge; or one that lies outside.
struct Row<'a> {
    images: Images<'a>,
    at: Option<(usize, usize)>,
    before: usize,
    n: usize,
}

impl Row<'_> {
    /// Writes it with zeros around it.
    #[inline(always)]
    fn lay<E: Copy + Default>(&self, to: &mut [E], put: impl Fn(&[f32], &mut [E])) {
        let Images { channels: c, pixel, .. } = self.images;
        let Some((image, y)) = self.at else { return to.fill(E::default()) };
        let (left, rest) = to.split_at_mut(self.before * c);
        let (middle, right) = rest.split_at_mut(self.n * c);
        left.fill(E::default());
        right.fill(E::default());
        let from = self.images.at(image, y, 0);
        if self.images.is_whole() {
            return put(&from[..middle.len()], middle);
        }
        from.chunks(pixel).zip(middle.chunks_exact_mut(c)).for_each(|(from, to)| put(&from[..c], to));
    }
}
