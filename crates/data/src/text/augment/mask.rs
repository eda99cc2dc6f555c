//! Word dropout to the mask token: every word is hidden with probability p, all its tokens behind `[MASK]` (as whole-word
//! masking hides them), so that the text keeps its length.

use headstart_core::Rng;

/// Probability that a word is hidden.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct WordDropout {
    pub(crate) probability: f64,
}

impl WordDropout {
    /// `word_of` says which word each token belongs to; none for special tokens, which stay.  One word always stays, too.
    pub(crate) fn apply(self, ids: &mut [i64], word_of: &[Option<u32>], mask_id: i64, rng: &mut Rng) {
        let mut spans: Vec<std::ops::Range<usize>> = Vec::new();
        for (i, word) in word_of.iter().enumerate().filter(|(_, w)| w.is_some()) {
            match spans.last_mut() {
                Some(span) if span.end == i && word_of[i - 1] == *word => span.end = i + 1,
                _ => spans.push(i..i + 1),
            }
        }
        if spans.len() < 2 {
            return;
        }
        let mut hidden: Vec<bool> = spans.iter().map(|_| rng.uniform() < self.probability).collect();
        if hidden.iter().all(|h| *h) {
            hidden[rng.below(spans.len())] = false;
        }
        for (span, _) in spans.into_iter().zip(hidden).filter(|(_, h)| *h) {
            ids[span].fill(mask_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_hidden_whole_and_special_tokens_never() {
        let word_of = [None, Some(0), Some(0), Some(1), Some(2), Some(2), Some(2), None];
        let mut n_hidden = 0;
        for seed in 0..400 {
            let mut ids: Vec<i64> = (10..18).collect();
            WordDropout { probability: 0.25 }.apply(&mut ids, &word_of, 4, &mut Rng::stream(0, seed));
            assert_eq!((ids[0], ids[7]), (10, 17));
            for word in [1..3, 3..4, 4..7] {
                let n = ids[word.clone()].iter().filter(|id| **id == 4).count();
                assert!(n == 0 || n == word.len(), "{ids:?}");
                n_hidden += usize::from(n > 0);
            }
            assert!(ids[1..7].iter().any(|id| *id != 4));
        }
        assert!((240..350).contains(&n_hidden), "{n_hidden} of 1,200");
    }
}
