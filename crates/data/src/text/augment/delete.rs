//! Random deletion (EDA; Wei and Zou, 2019): every word is left out with probability p; one is always left.

use headstart_core::Rng;

use super::words;

/// EDA's p.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RandomDeletion {
    pub(crate) probability: f64,
}

impl RandomDeletion {
    pub(super) fn apply(self, text: &str, rng: &mut Rng) -> String {
        let places = words(text);
        if places.len() < 2 {
            return text.to_owned();
        }
        let mut out = String::with_capacity(text.len());
        let mut end = 0;
        let mut n_kept = 0;
        for place in &places {
            if rng.uniform() >= self.probability {
                // With the white space before it.
                out.push_str(&text[end..place.end]);
                n_kept += 1;
            }
            end = place.end;
        }
        if n_kept == 0 {
            return text[places[rng.below(places.len())].clone()].to_owned();
        }
        out.push_str(&text[end..]);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_asked_for_goes_and_the_order_stays() {
        let text = (0..100).map(|i| i.to_string()).collect::<Vec<_>>().join(" ");
        let mut n_left = 0;
        for seed in 0..100 {
            let shorter = RandomDeletion { probability: 0.2 }.apply(&text, &mut Rng::stream(1, seed));
            let numbers: Vec<usize> = shorter.split_whitespace().map(|w| w.parse().unwrap()).collect();
            assert!(numbers.is_sorted());
            n_left += numbers.len();
        }
        assert!((7_850..8_150).contains(&n_left), "{n_left} of 10,000");
    }

    #[test]
    fn one_word_is_left() {
        let all = RandomDeletion { probability: 1.0 };
        let left: Vec<String> = (0..40).map(|seed| all.apply("not good", &mut Rng::new(seed))).collect();
        assert!(left.iter().any(|w| w == "not") && left.iter().all(|w| w == "not" || w == "good"));
        assert_eq!(all.apply("fine", &mut Rng::new(0)), "fine");
    }
}
