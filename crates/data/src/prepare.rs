//! Carrying out a model's [`Preprocess`].

use headstart_core::{Array, Batch, Input};
use headstart_graph::Preprocess;

use crate::image::ImagePipeline;
use crate::text::TextPipeline;
use crate::{Augmentation, DataError};

/// One example as the network takes it, without the batch dimension.
#[derive(Debug, Clone, PartialEq)]
pub enum Prepared {
    /// Normalised pixels `[3, height, width]`.
    Image(Vec<f32>),
    /// Token ids, special ones included.
    Tokens(Vec<i64>),
}

/// From examples to batches, as one model wants them.  Cheap to share between threads.
///
/// ```
/// use headstart_core::Input;
/// use headstart_data::Preparer;
/// use headstart_graph::{Filter, ImagePreprocess, Preprocess, Resize};
/// let spec = Preprocess::Image(ImagePreprocess::imagenet(2, Resize::Squash, Filter::Bilinear));
/// let preparer = Preparer::new(&spec, None)?;
/// // A grey picture of one white pixel.
/// let white = preparer.prepare(&Input::Bytes(b"P5 1 1 255\n\xFF".as_slice().into()))?;
/// let batch = preparer.batch(&[&white, &white]);
/// assert_eq!(batch.get("image").map(|a| a.shape.clone()), Some(vec![2, 3, 2, 2]));
/// # Ok::<(), headstart_data::DataError>(())
/// ```
#[derive(Clone)]
pub struct Preparer {
    pipeline: Pipeline,
}

#[derive(Clone)]
enum Pipeline {
    Image(Box<ImagePipeline>),
    Text(Box<TextPipeline>),
}

impl Preparer {
    /// Checks a preprocessing; for texts the `tokenizer.json` that travels with the model is needed.
    ///
    /// # Errors
    /// [`DataError::Preprocess`] or [`DataError::Tokenizer`] for what cannot be carried out.
    pub fn new(preprocess: &Preprocess, tokenizer_json: Option<&[u8]>) -> Result<Self, DataError> {
        let pipeline = match preprocess {
            Preprocess::Image(spec) => Pipeline::Image(Box::new(ImagePipeline::new(spec)?)),
            Preprocess::Text(spec) => {
                let json = tokenizer_json.ok_or_else(|| DataError::Tokenizer {
                    message: "this model takes texts, but no tokenizer.json came with it".into(),
                })?;
                Pipeline::Text(Box::new(TextPipeline::new(spec, json)?))
            }
        };
        Ok(Preparer { pipeline })
    }

    /// One example: read, decoded, resized and normalised, or read and tokenised.
    ///
    /// # Errors
    /// [`DataError`] if it cannot be read or is not of the model's modality.
    pub fn prepare(&self, input: &Input) -> Result<Prepared, DataError> {
        match &self.pipeline {
            Pipeline::Image(pipeline) => pipeline.prepare(input).map(Prepared::Image),
            Pipeline::Text(pipeline) => pipeline.prepare(input).map(Prepared::Tokens),
        }
    }

    /// A random view of one example, as an augmentation makes it: a function of the example, the augmentation and the
    /// seed ([`view_seed`](crate::view_seed) makes one for each example, view and run).
    ///
    /// # Errors
    /// As [`Preparer::prepare`]; [`DataError::Augmentation`] if the augmentation is for another modality, or hides words
    /// behind a mask token that the tokenizer does not have.
    ///
    /// ```
    /// use headstart_core::{Input, Modality};
    /// use headstart_data::{Augmentation, Preparer, view_seed};
    /// use headstart_graph::{Filter, ImagePreprocess, Preprocess, Resize};
    /// let spec = Preprocess::Image(ImagePreprocess::imagenet(2, Resize::Squash, Filter::Bilinear));
    /// let preparer = Preparer::new(&spec, None)?;
    /// let picture = Input::Bytes(b"P5 2 2 255\n\x00\x40\x80\xFF".as_slice().into());
    /// let augmentation = Augmentation::parse("light", Modality::Image)?;
    /// let view = |n| preparer.prepare_view(&picture, &augmentation, view_seed(&[0; 32], n, 1));
    /// assert_eq!(view(0)?, view(0)?);
    /// assert_ne!(view(0)?, view(1)?);
    /// # Ok::<(), headstart_data::DataError>(())
    /// ```
    pub fn prepare_view(
        &self,
        input: &Input,
        augmentation: &Augmentation,
        view_seed: u64,
    ) -> Result<Prepared, DataError> {
        match &self.pipeline {
            Pipeline::Image(pipeline) => {
                pipeline.prepare_view(input, augmentation.image()?, view_seed).map(Prepared::Image)
            }
            Pipeline::Text(pipeline) => {
                pipeline.prepare_view(input, augmentation.text()?, view_seed).map(Prepared::Tokens)
            }
        }
    }

    /// Joins examples of this preparer: input `image [n, 3, height, width]`, or `input_ids` and `attention_mask`
    /// `[n, longest]`, padded at the end with the tokenizer's padding id, which the mask marks with 0.
    ///
    /// # Panics
    /// If an example was prepared by a preparer of another modality or size: a mistake of the caller.
    pub fn batch(&self, prepared: &[&Prepared]) -> Batch {
        match &self.pipeline {
            Pipeline::Image(pipeline) => {
                let [height, width] = pipeline.size_px();
                let mut values = Vec::with_capacity(prepared.len() * 3 * height * width);
                for p in prepared {
                    let Prepared::Image(pixels) = p else { panic!("tokens in a batch of images") };
                    values.extend_from_slice(pixels);
                }
                Batch::image(Array::f32(&[prepared.len(), 3, height, width], values))
            }
            Pipeline::Text(pipeline) => {
                let ids = prepared.iter().map(|p| match p {
                    Prepared::Tokens(ids) => ids.as_slice(),
                    Prepared::Image(_) => panic!("an image in a batch of texts"),
                });
                tokens(&ids.collect::<Vec<_>>(), pipeline.pad_id())
            }
        }
    }

    /// The same preprocessing at another square size, a shorter side in proportion: for a cheap baseline.  Texts are not
    /// affected.
    pub fn with_image_size(&self, size_px: usize) -> Self {
        match &self.pipeline {
            Pipeline::Image(pipeline) => {
                Preparer { pipeline: Pipeline::Image(Box::new(pipeline.with_size(size_px))) }
            }
            Pipeline::Text(_) => self.clone(),
        }
    }

    /// The same preprocessing cut to fewer tokens, special ones included; never to more than before, nor to none.  Images
    /// are not affected.
    pub fn with_length_max(&self, n: usize) -> Self {
        match &self.pipeline {
            Pipeline::Image(_) => self.clone(),
            Pipeline::Text(pipeline) => {
                Preparer { pipeline: Pipeline::Text(Box::new(pipeline.with_length_max(n))) }
            }
        }
    }
}

fn tokens(ids: &[&[i64]], pad_id: i64) -> Batch {
    let longest = ids.iter().map(|i| i.len()).max().unwrap_or(0);
    let padded = |i: &&[i64]| {
        let n_pad = longest - i.len();
        i.iter().copied().chain(std::iter::repeat_n(pad_id, n_pad)).collect::<Vec<_>>()
    };
    let mask = |i: &&[i64]| {
        std::iter::repeat_n(1, i.len()).chain(std::iter::repeat_n(0, longest - i.len())).collect::<Vec<_>>()
    };
    let shape = [ids.len(), longest];
    Batch {
        inputs: vec![
            ("input_ids".into(), Array::i64(&shape, ids.iter().flat_map(padded).collect())),
            ("attention_mask".into(), Array::i64(&shape, ids.iter().flat_map(mask).collect())),
        ],
    }
}
