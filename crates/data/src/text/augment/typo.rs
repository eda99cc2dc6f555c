//! Keyboard noise (after Belinkov and Bisk, 2018): at each letter, with probability p, one of four slips: the key beside it,
//! the next letter first, left out, or twice.

use headstart_core::Rng;

/// Probability of a slip at a letter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct KeyboardNoise {
    pub(crate) probability: f64,
}

/// Rows of a QWERTY keyboard.  A key's neighbours stand beside it in its row, and above and below it.
const ROWS: [&[u8]; 3] = [b"qwertyuiop", b"asdfghjkl", b"zxcvbnm"];

impl KeyboardNoise {
    pub(super) fn apply(self, text: &str, rng: &mut Rng) -> String {
        let mut out = String::with_capacity(text.len() + text.len() / 16);
        let mut letters = text.chars().peekable();
        while let Some(c) = letters.next() {
            if !c.is_alphabetic() || rng.uniform() >= self.probability {
                out.push(c);
                continue;
            }
            match rng.below(4) {
                0 => out.push(beside(c, rng)),
                1 => match letters.next_if(|next| next.is_alphabetic()) {
                    Some(next) => out.extend([next, c]),
                    None => out.push(c),
                },
                2 => {}
                _ => out.extend([c, c]),
            }
        }
        // A text of which nothing is left would have no tokens.
        if out.trim().is_empty() { text.to_owned() } else { out }
    }
}

/// A key beside this one, in the same case; letters that have no key on the board stay.
fn beside(c: char, rng: &mut Rng) -> char {
    let place = |key: u8| {
        ROWS.iter().enumerate().find_map(|(row, keys)| Some((row, keys.iter().position(|k| *k == key)?)))
    };
    let lower = c.to_ascii_lowercase();
    let Some((row, column)) = u8::try_from(lower).ok().and_then(place) else { return c };
    // Each row of keys lies half a key further right than the one above it.
    let near = |r: usize, k: usize| match r.abs_diff(row) {
        0 => k.abs_diff(column) == 1,
        1 if r > row => k == column || k + 1 == column,
        1 => k == column || k == column + 1,
        _ => false,
    };
    let keys: Vec<u8> = ROWS
        .iter()
        .enumerate()
        .flat_map(|(r, keys)| keys.iter().enumerate().filter(move |(k, _)| near(r, *k)).map(|(_, key)| *key))
        .collect();
    let key = char::from(keys[rng.below(keys.len())]);
    if c.is_ascii_uppercase() { key.to_ascii_uppercase() } else { key }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_go_to_keys_beside() {
        let near = |c| {
            let mut all: Vec<char> = (0..200).map(|seed| beside(c, &mut Rng::new(seed))).collect();
            all.sort_unstable();
            all.dedup();
            all.into_iter().collect::<String>()
        };
        assert_eq!(near('g'), "bfhtvy");
        assert_eq!(near('q'), "aw");
        assert_eq!(near('P'), "LO");
        assert_eq!(near('m'), "jkn");
        assert_eq!(near('é'), "é");
    }

    #[test]
    fn about_the_share_of_letters_asked_for() {
        let text = "abcdefghij ".repeat(400);
        let noisy = KeyboardNoise { probability: 0.05 }.apply(&text, &mut Rng::new(3));
        let words = text.split_whitespace().zip(noisy.split_whitespace());
        let n_changed = words.filter(|(a, b)| a != b).count();
        // 1 − 0.95^10 = 0.40 of the words, a little less for swaps at a word's end.
        assert!((130..190).contains(&n_changed), "{n_changed} of 400");
        assert!(noisy.len().abs_diff(text.len()) < 40);
    }
}
