//! Random views of texts through a whole tokenizer, word pieces and special tokens included.

#![allow(clippy::unwrap_used)]

use headstart_core::{Input, Modality};
use headstart_data::{Augmentation, DataError, Prepared, Preparer, view_seed};
use headstart_graph::{Preprocess, TextPreprocess};

const TOKENIZER: &str = include_str!("fixtures/tokenizer.json");
const TEXT: &str = "the movie was surprisingly good and not one very long film";

fn preparer(json: &str) -> Preparer {
    Preparer::new(&Preprocess::Text(TextPreprocess { length_max: 32 }), Some(json.as_bytes())).unwrap()
}

fn view(preparer: &Preparer, steps: &str, seed: u64) -> Result<Vec<i64>, DataError> {
    let augmentation = Augmentation::parse(steps, Modality::Text).unwrap();
    match preparer.prepare_view(&Input::Text(TEXT.into()), &augmentation, seed)? {
        Prepared::Tokens(ids) => Ok(ids),
        Prepared::Image(_) => panic!("an image from a text"),
    }
}

/// The id of a token in the fixture's vocabulary.
fn id(token: &str) -> i64 {
    let json: serde_json::Value = serde_json::from_str(TOKENIZER).unwrap();
    json["model"]["vocab"][token].as_i64().unwrap()
}

#[test]
fn none_is_the_text_itself() {
    let preparer = preparer(TOKENIZER);
    let plain = preparer.prepare(&Input::Text(TEXT.into())).unwrap();
    assert_eq!(Prepared::Tokens(view(&preparer, "none", 3).unwrap()), plain);
}

#[test]
fn masked_words_are_masked_whole() {
    let preparer = preparer(TOKENIZER);
    let plain = view(&preparer, "none", 0).unwrap();
    // `surprisingly` is `surprising` and `##ly`.
    let piece = plain.iter().position(|i| *i == id("surprising")).unwrap();
    assert_eq!(plain[piece + 1], id("##ly"));
    let (mask, mut n_masked, mut n_pieces) = (id("[MASK]"), 0, 0);
    for number in 0..300 {
        let ids = view(&preparer, "mask=0.2", view_seed(&[3; 32], number, 0)).unwrap();
        assert_eq!((ids.len(), ids[0], ids.last()), (plain.len(), id("[CLS]"), Some(&id("[SEP]"))));
        assert!(ids.iter().zip(&plain).all(|(a, b)| a == b || *a == mask));
        assert_eq!(ids[piece] == mask, ids[piece + 1] == mask, "half a word");
        n_masked += ids.iter().filter(|i| **i == mask).count();
        n_pieces += plain.len() - 2;
    }
    let share = n_masked as f64 / n_pieces as f64;
    assert!((share - 0.2).abs() < 0.02, "{share}");
}

#[test]
fn steps_compose_and_repeat() {
    let preparer = preparer(TOKENIZER);
    let plain = view(&preparer, "none", 0).unwrap();
    let mut different = 0;
    for seed in 0..30 {
        let ids = view(&preparer, "strong,case", seed).unwrap();
        assert_eq!(ids, view(&preparer, "strong,case", seed).unwrap());
        different += usize::from(ids != plain);
        assert!(view(&preparer, "delete=0.5", seed).unwrap().len() <= plain.len());
        let mut swapped = view(&preparer, "swap=0.3", seed).unwrap();
        let mut sorted = plain.clone();
        swapped.sort_unstable();
        sorted.sort_unstable();
        assert_eq!(swapped, sorted);
    }
    assert!(different > 25, "{different} of 30");
}

#[test]
fn a_tokenizer_without_a_mask_says_so() {
    let without = TOKENIZER.replace("[MASK]", "[NONE]");
    let error = view(&preparer(&without), "mask=0.1", 0).unwrap_err();
    let told = "augmentation `mask=0.1`: this model's tokenizer has neither a [MASK] nor a <mask> token";
    assert_eq!(error.to_string(), told);
    assert!(view(&preparer(&without), "delete=0.1", 0).is_ok());
}
