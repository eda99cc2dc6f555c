//! Casing: the same words in lower case, in upper case, or with capitals at every word, as people and forms write them.

use headstart_core::Rng;

/// Probability that a text changes its casing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Casing {
    pub(crate) probability: f64,
}

impl Casing {
    pub(super) fn apply(self, text: String, rng: &mut Rng) -> String {
        if rng.uniform() >= self.probability {
            return text;
        }
        match rng.below(3) {
            0 => text.to_lowercase(),
            1 => text.to_uppercase(),
            _ => title(&text),
        }
    }
}

/// The first letter of every word in upper case, the others in lower case.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        if inside {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        inside = !c.is_whitespace() && (inside || c.is_alphanumeric());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_casings_and_often_none() {
        let text = "He said: don't SHOUT (ever)";
        let mut counts = std::collections::BTreeMap::new();
        for seed in 0..600 {
            *counts
                .entry(Casing { probability: 0.5 }.apply(text.into(), &mut Rng::stream(2, seed)))
                .or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 4, "{counts:?}");
        assert!((250..350).contains(&counts[text]));
        assert!((70..130).contains(&counts["he said: don't shout (ever)"]));
        assert!((70..130).contains(&counts["HE SAID: DON'T SHOUT (EVER)"]));
        assert!((70..130).contains(&counts["He Said: Don't Shout (Ever)"]));
    }
}
