//! Texts: characters → token ids.

mod augment;
mod growth;

use std::borrow::Cow;

use headstart_core::{Input, Modality};
use headstart_graph::TextPreprocess;
use tokenizers::{
    Encoding, PostProcessor, Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy,
};

use crate::DataError;
use crate::files::{EXAMPLE_BYTES_MAX, decode_text, guarded, read};
pub(crate) use augment::TextStep;
use growth::Growth;

/// Tokenises with a `tokenizer.json`.
#[derive(Clone)]
pub(crate) struct TextPipeline {
    tokenizer: Tokenizer,
    growth: Growth,
    length_max: usize,
    pad_id: i64,
}

impl TextPipeline {
    pub(crate) fn new(spec: &TextPreprocess, tokenizer_json: &[u8]) -> Result<Self, DataError> {
        let refuse = |message: String| DataError::Tokenizer { message };
        let growth = Growth::of(tokenizer_json).map_err(refuse)?;
        let tokenizer = guarded("tokenizer", || {
            Tokenizer::from_bytes(tokenizer_json).map_err(|e| format!("tokenizer.json cannot be read: {e}"))
        })
        .map_err(refuse)?;
        let pad_id = match tokenizer.get_padding() {
            Some(padding) => padding.pad_id,
            None => ["[PAD]", "<pad>"].iter().find_map(|t| tokenizer.token_to_id(t)).unwrap_or(0),
        };
        let n_special = n_special(&tokenizer);
        if spec.length_max <= n_special {
            let length_max = spec.length_max;
            return Err(refuse(format!("length_max is {length_max}; allowed: {} and above", n_special + 1)));
        }
        TextPipeline { tokenizer, growth, length_max: 0, pad_id: i64::from(pad_id) }.cut_to(spec.length_max)
    }

    /// The id that fills a batch.
    pub(crate) fn pad_id(&self) -> i64 {
        self.pad_id
    }

    /// The same with at most `length_max` tokens, but room for one beside the special ones, and never more than before.
    pub(crate) fn with_length_max(&self, length_max: usize) -> Self {
        let length_max = length_max.clamp(n_special(&self.tokenizer) + 1, self.length_max);
        self.clone().cut_to(length_max).unwrap_or_else(|_| self.clone())
    }

    fn cut_to(mut self, length_max: usize) -> Result<Self, DataError> {
        // The side on which the tokenizer's authors cut is part of the model.
        let direction = self.tokenizer.get_truncation().map_or(TruncationDirection::Right, |t| t.direction);
        let truncation = TruncationParams {
            max_length: length_max,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
            direction,
        };
        self.tokenizer
            .with_truncation(Some(truncation))
            .map_err(|e| DataError::Tokenizer { message: e.to_string() })?
            .with_padding(None);
        self.length_max = length_max;
        Ok(self)
    }

    /// One example → token ids, special ones included, not padded.
    pub(crate) fn prepare(&self, input: &Input) -> Result<Vec<i64>, DataError> {
        let text = text_of(input)?;
        self.tokenise(&text, || {
            let encoding = self.tokenizer.encode_fast(&*text, true).map_err(|e| e.to_string())?;
            Ok(ids_of(&encoding))
        })
    }

    /// The same of a random view.
    pub(crate) fn prepare_view(
        &self,
        input: &Input,
        steps: &[TextStep],
        view_seed: u64,
    ) -> Result<Vec<i64>, DataError> {
        let text = augment::apply(&text_of(input)?, steps, view_seed);
        let Some((dropout, mut rng)) = augment::word_dropout(steps, view_seed) else {
            return self.prepare(&Input::Text(text.into()));
        };
        let mask_id = ["[MASK]", "<mask>"].iter().find_map(|t| self.tokenizer.token_to_id(t));
        let mask_id = mask_id.ok_or_else(|| DataError::Augmentation {
            item: TextStep::Mask(dropout).to_string(),
            message: "this model's tokenizer has neither a [MASK] nor a <mask> token".into(),
        })?;
        self.tokenise(&text, || {
            // Not `encode_fast`, which does not say which word a token belongs to.
            let encoding = self.tokenizer.encode(&*text, true).map_err(|e| e.to_string())?;
            let mut ids = ids_of(&encoding);
            dropout.apply(&mut ids, encoding.get_word_ids(), i64::from(mask_id), &mut rng);
            Ok(ids)
        })
    }

    fn tokenise(
        &self,
        text: &str,
        encode: impl FnOnce() -> Result<Vec<i64>, String>,
    ) -> Result<Vec<i64>, DataError> {
        self.growth.check(text).map_err(|message| DataError::Tokenizer { message })?;
        match guarded("tokenizer", encode) {
            Ok(ids) if ids.is_empty() => {
                Err(DataError::Tokenizer { message: "the text has no tokens".into() })
            }
            Ok(ids) => Ok(ids),
            Err(message) => Err(DataError::Tokenizer { message }),
        }
    }
}

fn text_of(input: &Input) -> Result<Cow<'_, str>, DataError> {
    match input {
        Input::Text(text) => Ok(Cow::Borrowed(text)),
        Input::File(path) => Ok(Cow::Owned(decode_text(read(path, EXAMPLE_BYTES_MAX)?).0)),
        Input::Bytes(_) => {
            Err(DataError::WrongModality { id: "a binary cell".into(), expected: Modality::Text })
        }
    }
}

fn ids_of(encoding: &Encoding) -> Vec<i64> {
    encoding.get_ids().iter().map(|&id| i64::from(id)).collect()
}

fn n_special(tokenizer: &Tokenizer) -> usize {
    tokenizer.get_post_processor().map_or(0, |p| p.added_tokens(false))
}
