//! The one table of hyper-parameters: name, default, range, why.  It feeds the command line (`--set`, `--help`), the
//! plan, validation and the docs.

use serde::{Deserialize, Serialize};

use crate::RecipeError;

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hyper {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is if nobody says otherwise.
    pub default: f64,
    /// Smallest value allowed.
    pub lo: f64,
    /// Largest value allowed.
    pub hi: f64,
    /// Words that stand for 0, 1, …; empty for a number.
    pub choices: &'static [&'static str],
    /// What it does, and why that default.
    pub why: &'static str,
}

impl Hyper {
    const fn number(name: &'static str, default: f64, lo: f64, hi: f64, why: &'static str) -> Self {
        Hyper { name, default, lo, hi, choices: &[], why }
    }

    /// The first choice is the default.
    const fn choice(name: &'static str, choices: &'static [&'static str], why: &'static str) -> Self {
        Hyper { name, default: 0.0, lo: 0.0, hi: choices.len() as f64 - 1.0, choices, why }
    }

    /// The values allowed, for people.
    pub fn allowed(&self) -> String {
        if self.choices.is_empty() { format!("{} to {}", self.lo, self.hi) } else { self.choices.join(", ") }
    }
}

/// All of them.
pub const TABLE: &[Hyper] = &[
    Hyper::number(
        "n_folds",
        5.0,
        2.0,
        20.0,
        "folds of the cross-validation, inside the training split, that picks the head's penalty",
    ),
    Hyper::number("l2", 0.0, 0.0, 1e6, "the head's L2 penalty; 0 lets cross-validation pick it"),
    Hyper::number(
        "class_weights",
        2.0,
        0.0,
        2.0,
        "1 weighs classes equally, 0 examples equally, 2 weighs classes if one is 3 times as large as another",
    ),
    Hyper::number(
        "baseline_passes_max",
        40.0,
        1.0,
        1000.0,
        "passes over the training split after which the rival from random weights has had its chance",
    ),
    Hyper::number(
        "baseline_batch",
        16.0,
        2.0,
        1024.0,
        "examples a step of the rival; small data wants many steps",
    ),
    Hyper::number(
        "baseline_lr_max",
        0.0,
        0.0,
        10.0,
        "the rival's highest learning rate (AdamW, one cycle); 0 means 2e-3 for pictures, 3e-4 for texts",
    ),
    Hyper::number(
        "passes",
        0.0,
        0.0,
        10_000.0,
        "passes over the training examples; 0 means 8 for pictures, 4 for texts (3 from 6,000)",
    ),
    Hyper::number("batch", 16.0, 1.0, 4096.0, "examples a step is computed of"),
    Hyper::number("accumulate", 1.0, 1.0, 1024.0, "batches whose gradients make one update"),
    Hyper::number("lr", 0.0, 0.0, 10.0, "highest learning rate of the network; 0 is the recipe's own"),
    Hyper::number("head_lr", 0.0, 0.0, 10.0, "highest learning rate of the head; 0 is the recipe's own"),
    Hyper::number(
        "lr_decay",
        1.0,
        0.05,
        1.0,
        "factor of the learning rate from each group to the one before it (Howard and Ruder, 2018)",
    ),
    Hyper::number("weight_decay", 0.01, 0.0, 1.0, "decay of weights; biases and norms do not decay"),
    Hyper::choice("optimiser", &["adamw", "sgd"], "sgd goes with momentum 0.9"),
    Hyper::choice(
        "schedule",
        &["linear", "cosine", "one-cycle", "constant"],
        "course of the learning rate over a phase",
    ),
    Hyper::number("warmup", 0.1, 0.0, 1.0, "share of the steps over which the learning rate rises"),
    Hyper::number("clip_norm", 1.0, 0.0, 1e6, "largest norm of a step's gradients; 0 for no bound"),
    Hyper::number("label_smoothing", 0.0, 0.0, 0.9, "share of the target that is spread over all classes"),
    Hyper::choice(
        "balance",
        &["auto", "none", "weights", "effective", "sampling"],
        "what is done about unequal classes; auto weighs them if one is 3 times as large as another",
    ),
    Hyper::choice(
        "precision",
        &["f32", "bf16"],
        "bf16 rounds the factors of products while the network trains, and what batch norms by the batch read; sums and weights stay f32",
    ),
    Hyper::choice(
        "batch_norm",
        &["frozen", "batch"],
        "frozen goes by the source's statistics, which suits small data",
    ),
    Hyper::number(
        "segments",
        1.0,
        1.0,
        1000.0,
        "parts whose inner values are computed again instead of kept: less memory, one more forward pass",
    ),
    Hyper::number(
        "ema",
        0.0,
        0.0,
        0.99999,
        "decay of a running mean of the weights, which is then kept; 0 for none",
    ),
    Hyper::number(
        "patience",
        0.0,
        0.0,
        1000.0,
        "passes without a better validation loss after which training ends; 0 goes to the end",
    ),
    Hyper::number("mixup", 0.0, 0.0, 10.0, "α of mixup for pictures; 0 for none"),
    Hyper::number("cutmix", 0.0, 0.0, 10.0, "α of cutmix for pictures; 0 for none"),
    Hyper::number(
        "views",
        0.0,
        0.0,
        10_000.0,
        "augmented views of each example; 0 means one a pass where nothing is cached, else 4",
    ),
    Hyper::number(
        "find_lr",
        0.0,
        0.0,
        1.0,
        "1 looks for the learning rate by a range test first (Smith, 2017)",
    ),
    Hyper::number(
        "seeds",
        1.0,
        1.0,
        20.0,
        "networks from as many seeds whose weights are averaged (model soup)",
    ),
    Hyper::number(
        "tuned_share",
        1.0,
        -1.0,
        1.0,
        "share of the tuned weights in the mean with the starting ones (WiSE-FT); -1 picks it on the validation split",
    ),
    Hyper::number("l2_sp", 0.0, 0.0, 100.0, "strength of the pull towards the source's weights (L2-SP)"),
    Hyper::number("bss", 0.0, 0.0, 100.0, "strength of batch spectral shrinkage"),
    Hyper::number("delta", 0.0, 0.0, 100.0, "strength of the pull towards the source's feature maps (DELTA)"),
    Hyper::number("co_tuning", 0.0, 0.0, 100.0, "strength of Co-Tuning with the source's own classes"),
    Hyper::number("distillation", 0.0, 0.0, 100.0, "strength of the pull towards the source's features"),
    Hyper::number("lora_rank", 8.0, 1.0, 1024.0, "rank of LoRA and DoRA"),
    Hyper::number("lora_alpha", 16.0, 0.0, 4096.0, "their updates are scaled by alpha / rank"),
    Hyper::number("lora_dropout", 0.0, 0.0, 0.9, "dropout before their first factor"),
    Hyper::number("rslora", 0.0, 0.0, 1.0, "1 scales by alpha / √rank instead"),
    Hyper::number("adapter_width", 32.0, 1.0, 4096.0, "width of a bottleneck adapter"),
    Hyper::number("stages", 4.0, 2.0, 32.0, "stages of gradual unfreezing"),
    Hyper::number("pairs", 20.0, 1.0, 1000.0, "pairs of each kind for each text (SetFit)"),
    Hyper::number("threshold", 0.95, 0.5, 1.0, "confidence from which a pseudo-label counts (FixMatch)"),
    Hyper::number(
        "unlabelled_ratio",
        3.0,
        1.0,
        32.0,
        "unlabelled examples for each labelled one in a batch (FixMatch)",
    ),
    Hyper::number("unlabelled_weight", 1.0, 0.0, 100.0, "weight of the unlabelled part (FixMatch)"),
];

/// Values for every row of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings(Vec<f64>);

impl Default for Settings {
    fn default() -> Self {
        Settings(TABLE.iter().map(|h| h.default).collect())
    }
}

impl Settings {
    /// The value of a row; the name must be one of the table's.
    pub fn get(&self, name: &str) -> f64 {
        let i = TABLE.iter().position(|h| h.name == name).expect("callers name rows of the table");
        self.0[i]
    }

    /// The word chosen in a row of choices.
    pub fn choice(&self, name: &str) -> &'static str {
        let row = TABLE.iter().find(|h| h.name == name).expect("callers name rows of the table");
        row.choices[self.get(name) as usize]
    }

    /// True if the value was overridden.
    pub fn is_set(&self, name: &str) -> bool {
        let row = TABLE.iter().find(|h| h.name == name).expect("callers name rows of the table");
        self.get(name) != row.default
    }

    /// Overrides values from `name=value` texts.
    ///
    /// ```
    /// use headstart_recipe::Settings;
    /// let s = Settings::parse(["n_folds=3"]).expect("in range");
    /// assert_eq!(s.get("n_folds"), 3.0);
    /// assert_eq!(s.get("l2"), 0.0);
    /// assert!(Settings::parse(["n_folds=1"]).is_err());
    /// assert!(Settings::parse(["folds=3"]).is_err());
    /// let error = Settings::parse(["n_folds=three"]).expect_err("a word");
    /// assert_eq!(error.to_string(), "`n_folds` is a number, not `three`");
    /// assert_eq!(Settings::parse(["optimiser=sgd"]).expect("a choice").choice("optimiser"), "sgd");
    /// ```
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, RecipeError> {
        let mut settings = Settings::default();
        for text in texts {
            let (name, value) = text.split_once('=').ok_or_else(|| RecipeError::NotASetting(text.into()))?;
            let i = TABLE.iter().position(|h| h.name == name.trim()).ok_or_else(|| {
                let allowed = TABLE.iter().map(|h| h.name).collect::<Vec<_>>().join(", ");
                RecipeError::UnknownSetting { got: name.into(), allowed }
            })?;
            let row = &TABLE[i];
            let Hyper { name, lo, hi, .. } = *row;
            if !row.choices.is_empty() {
                let chosen = row.choices.iter().position(|c| *c == value.trim());
                settings.0[i] = chosen.ok_or_else(|| RecipeError::NotAChoice {
                    name,
                    got: value.trim().into(),
                    allowed: row.allowed(),
                })? as f64;
                continue;
            }
            let not_a_number = |_| RecipeError::NotANumber { name, got: value.trim().into() };
            let got: f64 = value.trim().parse().map_err(not_a_number)?;
            if !(lo..=hi).contains(&got) {
                return Err(RecipeError::OutOfRange { name, got, lo, hi });
            }
            settings.0[i] = got;
        }
        Ok(settings)
    }
}
