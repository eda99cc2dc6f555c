//! Random swap (EDA; Wei and Zou, 2019): two words exchange their places, n = max(1, α · words) times.

use headstart_core::Rng;

use super::words;

/// EDA's α.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RandomSwap {
    pub(crate) share: f64,
}

impl RandomSwap {
    pub(super) fn apply(self, text: &str, rng: &mut Rng) -> String {
        let places = words(text);
        let n = places.len();
        if n < 2 || self.share == 0.0 {
            return text.to_owned();
        }
        let mut order: Vec<usize> = (0..n).collect();
        for _ in 0..((self.share * n as f64) as usize).max(1) {
            let a = rng.below(n);
            // One of the others.
            let b = (a + 1 + rng.below(n - 1)) % n;
            order.swap(a, b);
        }
        let mut out = String::with_capacity(text.len());
        let mut end = 0;
        for (place, word) in places.iter().zip(order) {
            out.push_str(&text[end..place.start]);
            out.push_str(&text[places[word].clone()]);
            end = place.end;
        }
        out.push_str(&text[end..]);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_change_places_and_none_is_lost() {
        let text = "the quick  brown\nfox jumps over the lazy dog .";
        let mut sorted: Vec<&str> = text.split_whitespace().collect();
        sorted.sort_unstable();
        for seed in 0..50 {
            let swapped = RandomSwap { share: 0.1 }.apply(text, &mut Rng::new(seed));
            let moved = text.split_whitespace().zip(swapped.split_whitespace()).filter(|(a, b)| a != b);
            // Ten words: one swap moves two, or none to be seen when it exchanges the two `the`.
            assert!([0, 2].contains(&moved.count()), "{swapped}");
            assert!(swapped.contains('\n') && swapped.contains("  "), "white space stays");
            let mut words: Vec<&str> = swapped.split_whitespace().collect();
            words.sort_unstable();
            assert_eq!(words, sorted);
        }
        assert_eq!(RandomSwap { share: 0.0 }.apply(text, &mut Rng::new(0)), text);
    }
}
