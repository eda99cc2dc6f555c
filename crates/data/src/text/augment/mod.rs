//! Random views of texts that need no network and no word list: one operation a file.
//!
//! Swapping and deleting words are those of EDA (Wei and Zou, 2019).  **Deviation:** EDA's other two operations, synonym
//! replacement and insertion, need WordNet and are left out; and where EDA makes each new sentence by one operation, a list
//! of steps is applied in full.
//!
//! Words are what white space parts.  A language written without spaces has one word a sentence: only `typo` and `mask` change it.

mod case;
mod delete;
mod mask;
mod swap;
mod typo;

use std::fmt;
use std::ops::Range;

use headstart_core::Rng;

use crate::augment::value::number;
use case::Casing;
use delete::RandomDeletion;
pub(crate) use mask::WordDropout;
use swap::RandomSwap;
use typo::KeyboardNoise;

/// One operation and its strength.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum TextStep {
    Swap(RandomSwap),
    Delete(RandomDeletion),
    Mask(WordDropout),
    Typo(KeyboardNoise),
    Case(Casing),
}

impl TextStep {
    /// From a key of the table of steps and its value.
    pub(crate) fn parse(key: &str, value: &str) -> Result<Self, String> {
        let share = number(value, 0.0..=1.0)?;
        Ok(match key {
            "swap" => TextStep::Swap(RandomSwap { share }),
            "delete" => TextStep::Delete(RandomDeletion { probability: share }),
            "mask" => TextStep::Mask(WordDropout { probability: share }),
            "typo" => TextStep::Typo(KeyboardNoise { probability: share }),
            "case" => TextStep::Case(Casing { probability: share }),
            _ => return Err("no step for texts".into()),
        })
    }

    pub(crate) fn key(&self) -> &'static str {
        match self {
            TextStep::Swap(_) => "swap",
            TextStep::Delete(_) => "delete",
            TextStep::Mask(_) => "mask",
            TextStep::Typo(_) => "typo",
            TextStep::Case(_) => "case",
        }
    }
}

impl fmt::Display for TextStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = match self {
            TextStep::Swap(s) => s.share,
            TextStep::Delete(s) => s.probability,
            TextStep::Mask(s) => s.probability,
            TextStep::Typo(s) => s.probability,
            TextStep::Case(s) => s.probability,
        };
        write!(f, "{}={value}", self.key())
    }
}

/// All but the word dropout, in their order: that one works on tokens.  Each step draws from a generator of its own.
pub(crate) fn apply(text: &str, steps: &[TextStep], view_seed: u64) -> String {
    let mut text = text.to_owned();
    for step in steps {
        let rng = &mut Rng::named(view_seed, step.key());
        match step {
            TextStep::Swap(s) => text = s.apply(&text, rng),
            TextStep::Delete(s) => text = s.apply(&text, rng),
            TextStep::Typo(s) => text = s.apply(&text, rng),
            TextStep::Case(s) => text = s.apply(text, rng),
            TextStep::Mask(_) => {}
        }
    }
    text
}

/// The word dropout and its generator, if the steps have one.
pub(crate) fn word_dropout(steps: &[TextStep], view_seed: u64) -> Option<(WordDropout, Rng)> {
    let dropout = steps.iter().find_map(|s| if let TextStep::Mask(s) = s { Some(*s) } else { None })?;
    Some((dropout, Rng::named(view_seed, "mask")))
}

/// Where the words stand.
fn words(text: &str) -> Vec<Range<usize>> {
    let start_of = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
    text.split_whitespace().map(|w| start_of(w)..start_of(w) + w.len()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_breaks_any_step() {
        let texts = [
            "",
            " ",
            "a",
            "\u{0}",
            "ß",
            "no words apart",
            "漢字かな",
            "🙂 🙂",
            "\u{301}\u{301} x",
            " a\u{a0}b ",
        ];
        let steps: Vec<TextStep> =
            ["swap", "delete", "typo", "case"].map(|k| TextStep::parse(k, "1").unwrap()).to_vec();
        for text in texts {
            for seed in 0..50 {
                let all = apply(text, &steps, seed);
                assert_eq!(all, apply(text, &steps, seed));
                for step in &steps {
                    apply(text, std::slice::from_ref(step), seed);
                }
                // Nothing deletes a text's last word.
                assert_eq!(
                    words(text).is_empty(),
                    words(&apply(text, &steps[1..2], seed)).is_empty(),
                    "{text:?}"
                );
            }
        }
    }
}
