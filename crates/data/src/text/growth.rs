//! How much longer a tokenizer's rules may make a text, said before they run.
//!
//! A `tokenizer.json` may replace a letter by a page, and the letters of that page again.  What its rules make of a text is
//! bounded from the rules alone, so that a small file cannot ask for all memory.

use serde::Deserialize;
use serde_json::Value;

/// Longest text that a tokenizer gets, and longest that its rules may make of it, bytes.
const TEXT_BYTES_MAX: f64 = (64u32 << 20) as f64;

/// Bytes after the rules, at most: `factor · n + added` for a text of `n` bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Growth {
    factor: f64,
    added: f64,
}

#[derive(Deserialize)]
struct Rules {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    added_tokens: Vec<Added>,
}

/// A token beside the vocabulary, which the rules change once, when the file is read.
#[derive(Deserialize)]
struct Added {
    content: String,
}

impl Growth {
    const NONE: Growth = Growth { factor: 1.0, added: 0.0 };

    /// Of a `tokenizer.json`; none if it is none, which the reader itself says.
    ///
    /// # Errors
    /// If what it lists itself may become too long.
    pub(super) fn of(tokenizer_json: &[u8]) -> Result<Self, String> {
        let Ok(rules) = serde_json::from_slice::<Rules>(tokenizer_json) else { return Ok(Growth::NONE) };
        let growth = Growth::rule(&rules.normalizer).then(Growth::rule(&rules.pre_tokenizer));
        let most: f64 = rules.added_tokens.iter().map(|token| growth.bytes(&token.content)).sum();
        let listed = rules.added_tokens.iter().map(|token| token.content.len()).sum();
        within(most, listed)?;
        Ok(growth)
    }

    /// # Errors
    /// If the rules may make too much of a text.
    pub(super) fn check(self, text: &str) -> Result<(), String> {
        within(self.bytes(text), text.len())
    }

    fn bytes(self, text: &str) -> f64 {
        self.factor * text.len() as f64 + self.added
    }

    /// By fields and not by type, which old files leave out.
    fn rule(rule: &Value) -> Self {
        let length = |field: &str| rule[field].as_str().map(|s| s.len() as f64);
        let steps = rule["normalizers"].as_array().or(rule["pretokenizers"].as_array());
        if let Some(steps) = steps {
            return steps.iter().map(Growth::rule).fold(Growth::NONE, Growth::then);
        }
        if let Some(content) = length("content") {
            return match rule["pattern"]["String"].as_str().or(rule["pattern"].as_str()) {
                Some(text) if !text.is_empty() => {
                    Growth { factor: (content / text.len() as f64).max(1.0), added: 0.0 }
                }
                // What may match nothing matches beside every byte.
                _ => Growth { factor: content + 1.0, added: content },
            };
        }
        if let Some(added) = length("prepend") {
            return Growth { factor: 1.0, added };
        }
        if let Some(map) = rule["precompiled_charsmap"].as_str() {
            return Growth { factor: longest_entry(map).max(1.0), added: 0.0 };
        }
        // A byte becomes a letter of up to two bytes, and a word may get a space in front of it.
        let is_of_bytes = rule["type"] == "ByteLevel" || !rule["trim_offsets"].is_null();
        // Forms of Unicode, accents, case: less than they say they may, and nothing more when repeated.
        if is_of_bytes { Growth { factor: 3.0, added: 2.0 } } else { Growth::NONE }
    }

    fn then(self, next: Growth) -> Self {
        Growth { factor: self.factor * next.factor, added: self.added * next.factor + next.added }
    }
}

fn within(most: f64, given: usize) -> Result<(), String> {
    if most <= TEXT_BYTES_MAX {
        return Ok(());
    }
    Err(format!("its rules may make {most:.3e} bytes of {given} bytes of text; allowed: {TEXT_BYTES_MAX}"))
}

/// The longest text that a SentencePiece map replaces a letter by: base64 of a length, a trie, and texts that end in zero.
fn longest_entry(base64: &str) -> f64 {
    let bytes: Vec<u8> = decode(base64);
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return 1.0 };
    let texts = rest.get(u32::from_le_bytes(*length) as usize..).unwrap_or(rest);
    texts.split(|b| *b == 0).map(<[u8]>::len).max().unwrap_or(0) as f64
}

fn decode(base64: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(base64.len() / 4 * 3);
    let (mut bits, mut n) = (0u32, 0);
    for b in base64.bytes() {
        let value = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        bits = bits << 6 | u32::from(value);
        n += 6;
        if n >= 8 {
            n -= 8;
            out.push((bits >> n) as u8);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(normalizer: &Value) -> f64 {
        Growth::of(json!({"normalizer": normalizer, "pre_tokenizer": null}).to_string().as_bytes())
            .expect("few")
            .bytes("1234")
    }

    #[test]
    fn rules_in_a_row_multiply() {
        let replace =
            |n: usize| json!({"type": "Replace", "pattern": {"String": "ab"}, "content": "x".repeat(n)});
        assert_eq!(of(&Value::Null), 4.0);
        assert_eq!(of(&replace(1)), 4.0);
        assert_eq!(of(&replace(20)), 40.0);
        let twice = json!({"type": "Sequence", "normalizers": [replace(20), replace(20)]});
        assert_eq!(of(&twice), 400.0);
        assert_eq!(of(&json!({"type": "Prepend", "prepend": "xyz"})), 7.0);
        let anything = json!({"type": "Replace", "pattern": {"Regex": "a*"}, "content": "xy"});
        assert_eq!(of(&anything), 14.0);
        assert_eq!(of(&json!({"type": "Lowercase"})), 4.0);
    }

    #[test]
    fn maps_count_by_their_longest_entry() {
        // Four bytes of length, a trie of four, `abc`, zero, `de`, zero.
        assert_eq!(decode("BAAAAAAAAABhYmMAZGUA"), b"\x04\0\0\0\0\0\0\0abc\0de\0");
        assert_eq!(of(&json!({"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAABhYmMAZGUA"})), 12.0);
    }

    #[test]
    fn tokens_beside_the_vocabulary_count() {
        let page = "x".repeat(4096);
        let rule = json!({"type": "Replace", "pattern": {"String": "x"}, "content": page});
        let file = json!({"normalizer": rule, "added_tokens": vec![json!({"content": page}); 5]});
        assert_eq!(
            Growth::of(file.to_string().as_bytes()).expect_err("too long"),
            "its rules may make 8.389e7 bytes of 20480 bytes of text; allowed: 67108864"
        );
    }
}
