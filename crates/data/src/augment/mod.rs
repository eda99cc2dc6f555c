//! Augmentation: a list of random operations, as data, that turn one example into any number of views of it.

pub(crate) mod value;

use std::fmt;

use headstart_core::{Modality, Rng};
use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::image::ImageStep;
use crate::text::TextStep;

/// A list of steps for pictures or for texts; empty for none.
///
/// It is written as people type it, and serialises as that text: `crop=0.6-1,rotate=10,jitter=0.2`.  [`augmentation_steps`]
/// lists the steps.  A list may begin with a preset that later steps add to or replace: `light,flip`.
///
/// | preset | pictures | texts |
/// |---|---|---|
/// | `none` | | |
/// | `light` | `crop=0.8-1,rotate=5,jitter=0.1` | `swap=0.05,delete=0.05` |
/// | `medium` | `crop=0.6-1,rotate=10,jitter=0.2,erase=0.1` | `swap=0.1,delete=0.1,typo=0.02` |
/// | `strong` | `crop=0.4-1,randaugment=2x9,erase=0.25` | `swap=0.1,delete=0.1,mask=0.1,typo=0.05` |
///
/// **No preset flips.**  A mirrored digit, letter or traffic sign is another class or none, and nothing in a picture tells
/// whether its label survives a mirror.  Where it does (animals, food, products), ask for it: `light,flip`.
///
/// ```
/// use headstart_core::Modality;
/// use headstart_data::Augmentation;
/// let augmentation = Augmentation::parse("light,flip,rotate=15", Modality::Image)?;
/// assert_eq!(augmentation.to_string(), "crop=0.8-1,rotate=15,jitter=0.1,flip=0.5");
/// let error = Augmentation::parse("crop=0.5-2", Modality::Image).unwrap_err();
/// assert_eq!(error.to_string(), "augmentation `crop=0.5-2`: 2 is out of range; allowed: 0.01 to 1");
/// # Ok::<(), headstart_data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Augmentation(Steps);

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Steps {
    #[default]
    None,
    Image(Vec<ImageStep>),
    Text(Vec<TextStep>),
}

/// How one step is written and what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepForm {
    /// Its name.
    pub key: &'static str,
    /// What it works on.
    pub modality: Modality,
    /// What stands after `=`.
    pub value: &'static str,
    /// The value if none is given.
    pub default: &'static str,
    /// What it does.
    pub what: &'static str,
}

/// All steps, in the order in which they are commonly written.
///
/// ```
/// let flip = &headstart_data::augmentation_steps()[0];
/// assert_eq!((flip.key, flip.default), ("flip", "0.5"));
/// ```
pub fn augmentation_steps() -> &'static [StepForm] {
    const fn step(
        modality: Modality,
        key: &'static str,
        value: &'static str,
        default: &'static str,
        what: &'static str,
    ) -> StepForm {
        StepForm { key, modality, value, default, what }
    }
    use Modality::{Image, Text};
    const STEPS: [StepForm; 11] = [
        step(
            Image,
            "flip",
            "P",
            "0.5",
            "mirrors left and right with probability P; not for digits, letters or signs",
        ),
        step(Image, "crop", "LOW-HIGH", "0.6-1", "a random window with this share of the area, resized"),
        step(Image, "rotate", "DEGREES", "10", "turns by up to so many degrees either way"),
        step(
            Image,
            "jitter",
            "S or B/C/S/H",
            "0.2",
            "changes brightness, contrast, saturation (and hue) by up to so much",
        ),
        step(Image, "randaugment", "NxM", "2x9", "RandAugment: N operations at magnitude M of 30"),
        step(Image, "erase", "P", "0.25", "random erasing of a rectangle with probability P"),
        step(
            Text,
            "swap",
            "SHARE",
            "0.1",
            "exchanges two words, for this share of the words (at least once)",
        ),
        step(Text, "delete", "P", "0.1", "leaves out each word with probability P"),
        step(Text, "mask", "P", "0.1", "hides each word behind the mask token with probability P"),
        step(Text, "typo", "P", "0.02", "a slip of the keyboard at each letter with probability P"),
        step(Text, "case", "P", "0.1", "with probability P all in lower case, upper case or title case"),
    ];
    &STEPS
}

const PRESETS: [&str; 4] = ["none", "light", "medium", "strong"];

/// The steps of a preset; none if there is no such preset.
fn preset(name: &str, modality: Modality) -> Option<&'static str> {
    Some(match (name, modality) {
        ("none", _) => "",
        ("light", Modality::Image) => "crop=0.8-1,rotate=5,jitter=0.1",
        ("medium", Modality::Image) => "crop=0.6-1,rotate=10,jitter=0.2,erase=0.1",
        ("strong", Modality::Image) => "crop=0.4-1,randaugment=2x9,erase=0.25",
        ("light", Modality::Text) => "swap=0.05,delete=0.05",
        ("medium", Modality::Text) => "swap=0.1,delete=0.1,typo=0.02",
        ("strong", Modality::Text) => "swap=0.1,delete=0.1,mask=0.1,typo=0.05",
        _ => return None,
    })
}

impl Augmentation {
    /// No augmentation.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads steps separated by commas, a preset first if wanted, for examples of one modality.
    ///
    /// # Errors
    /// [`DataError::Augmentation`] names the item that is unknown, given twice, for the other modality or out of range.
    pub fn parse(text: &str, modality: Modality) -> Result<Self, DataError> {
        let mut items: Vec<&str> = text.split(',').map(str::trim).filter(|i| !i.is_empty()).collect();
        let base = items.first().and_then(|first| preset(first, modality));
        if base.is_some() {
            items.remove(0);
        }
        let base: Vec<&str> = base.unwrap_or_default().split(',').filter(|i| !i.is_empty()).collect();
        let steps = match modality {
            Modality::Image => Steps::Image(list(&base, &items, modality, ImageStep::parse, ImageStep::key)?),
            Modality::Text => Steps::Text(list(&base, &items, modality, TextStep::parse, TextStep::key)?),
        };
        let empty = matches!(&steps, Steps::Image(s) if s.is_empty())
            || matches!(&steps, Steps::Text(s) if s.is_empty());
        Ok(Augmentation(if empty { Steps::None } else { steps }))
    }

    /// True if views are the examples themselves.
    pub fn is_none(&self) -> bool {
        self.0 == Steps::None
    }

    /// What it works on; nothing in particular if there are no steps.
    pub fn modality(&self) -> Option<Modality> {
        match self.0 {
            Steps::None => None,
            Steps::Image(_) => Some(Modality::Image),
            Steps::Text(_) => Some(Modality::Text),
        }
    }

    /// The steps for pictures.
    pub(crate) fn image(&self) -> Result<&[ImageStep], DataError> {
        match &self.0 {
            Steps::Image(steps) => Ok(steps),
            Steps::None => Ok(&[]),
            Steps::Text(_) => Err(self.misplaced(Modality::Image)),
        }
    }

    /// The steps for texts.
    pub(crate) fn text(&self) -> Result<&[TextStep], DataError> {
        match &self.0 {
            Steps::Text(steps) => Ok(steps),
            Steps::None => Ok(&[]),
            Steps::Image(_) => Err(self.misplaced(Modality::Text)),
        }
    }

    fn misplaced(&self, modality: Modality) -> DataError {
        DataError::Augmentation { item: self.to_string(), message: format!("the model takes {modality}s") }
    }
}

fn list<S>(
    base: &[&str],
    items: &[&str],
    modality: Modality,
    parse: fn(&str, &str) -> Result<S, String>,
    key_of: fn(&S) -> &'static str,
) -> Result<Vec<S>, DataError> {
    let refuse = |item: &str, message: String| DataError::Augmentation { item: item.into(), message };
    let read = |item: &str| {
        let (key, value) = item.split_once('=').map_or((item, None), |(k, v)| (k.trim(), Some(v.trim())));
        let Some(form) = augmentation_steps().iter().find(|f| f.key == key) else {
            let message =
                if PRESETS.contains(&key) { "a preset comes first" } else { "there is no such step" };
            return Err(refuse(item, message.into()));
        };
        if form.modality != modality {
            return Err(refuse(
                item,
                format!("this step is for {}s, the examples are {modality}s", form.modality),
            ));
        }
        parse(key, value.unwrap_or(form.default)).map_err(|message| refuse(item, message))
    };
    let mut steps = base.iter().map(|item| read(item)).collect::<Result<Vec<S>, _>>()?;
    let mut asked: Vec<&'static str> = Vec::new();
    for item in items {
        let step = read(item)?;
        let key = key_of(&step);
        if asked.contains(&key) {
            return Err(refuse(item, format!("`{key}` stands twice")));
        }
        asked.push(key);
        match steps.iter_mut().find(|s| key_of(s) == key) {
            Some(of_preset) => *of_preset = step,
            None => steps.push(step),
        }
    }
    Ok(steps)
}

impl fmt::Display for Augmentation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let items: Vec<String> = match &self.0 {
            Steps::None => vec!["none".into()],
            Steps::Image(steps) => steps.iter().map(ImageStep::to_string).collect(),
            Steps::Text(steps) => steps.iter().map(TextStep::to_string).collect(),
        };
        f.write_str(&items.join(","))
    }
}

impl From<Augmentation> for String {
    fn from(augmentation: Augmentation) -> String {
        augmentation.to_string()
    }
}

/// Explicit steps say themselves which modality they are for; the only preset that does is `none`.
impl TryFrom<String> for Augmentation {
    type Error = DataError;

    fn try_from(text: String) -> Result<Self, DataError> {
        let first = text.split([',', '=']).next().unwrap_or_default().trim();
        let modality = augmentation_steps().iter().find(|f| f.key == first).map(|f| f.modality);
        match modality {
            Some(modality) => Augmentation::parse(&text, modality),
            None if text.trim() == "none" => Ok(Augmentation::none()),
            None => Err(DataError::Augmentation { item: text, message: "there is no such step".into() }),
        }
    }
}

/// The seed of one view of one example: a function of its hash, the view's number and the run's seed, and of nothing else.
///
/// ```
/// let seed = headstart_data::view_seed(&[7; 32], 0, 1);
/// assert_eq!(seed, headstart_data::view_seed(&[7; 32], 0, 1));
/// assert_ne!(seed, headstart_data::view_seed(&[7; 32], 1, 1));
/// ```
pub fn view_seed(example_hash: &[u8; 32], view: u64, seed: u64) -> u64 {
    let (words, _) = example_hash.as_chunks::<8>();
    let of_example = words.iter().fold(seed, |s, word| Rng::stream(s, u64::from_le_bytes(*word)).next_u64());
    Rng::stream(of_example, view).next_u64()
}

#[cfg(test)]
mod tests;
