//! All that a report says, as plain data.

use headstart_core::{
    Comparison, Diagnostic, Interval, Metrics, NumberSummary, Plan, ReliabilityBin, SplitName, Verdict,
};
use headstart_graph::Card;
use serde::{Deserialize, Serialize};

/// One run, judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportData {
    /// What people call the run: often the data set's folder name.
    pub title: String,
    /// What was done; it also names the modality and the classes.
    pub plan: Plan,
    /// The source network.
    pub source: Card,
    /// What there was to learn from.
    pub data: DataSummary,
    /// The answer.
    pub verdict: Verdict,
    /// The answer in words: [`crate::verdict_sentence`].
    pub sentence: String,
    /// On a verdict of harm, the baseline that the bundle holds in the transferred network's place.
    pub fallback: Option<String>,
    /// Measures on the test examples.
    pub metrics: Metrics,
    /// The measure that the plan's verdict compares.
    pub score: f64,
    /// Its 95 % interval.
    pub score_ci95: Interval,
    /// What it had to beat.
    pub comparisons: Vec<Comparison>,
    /// Confidence against accuracy: [`headstart_core::reliability`].  Empty if unknown.
    pub reliability: Vec<ReliabilityBin>,
    /// True and predicted number of each test example; empty unless numbers were asked for.
    #[serde(default)]
    pub scatter: Vec<[f64; 2]>,
    /// How the rival from random weights learned.
    pub scratch: Option<ScratchCurve>,
    /// How the network learned, phase by phase; empty if it stayed frozen.
    #[serde(default)]
    pub training: Vec<PhaseCurve>,
    /// What the run was expected to cost; none if nothing was forecast.
    #[serde(default)]
    pub forecast: Option<ForecastFacts>,
    /// How the strength of the L2 penalty was chosen.
    pub l2: Option<L2Curve>,
    /// Test examples that it got wrong.
    pub mistakes: Mistakes,
    /// Where the time went, in order.
    pub timings: Vec<Timing>,
    /// Most memory held, MiB.
    pub peak_mb: Option<f64>,
    /// What the cache of frozen features did.
    pub cache: Option<CacheFacts>,
    /// Seeds, hashes, versions.
    pub facts: Vec<Fact>,
    /// The command that predicts with the bundle.
    pub command_predict: String,
    /// The command that makes this run again.
    pub command_reproduce: String,
}

/// One phase of a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseCurve {
    /// What people call it.
    pub name: String,
    /// Mean training loss by pass, and the loss on the validation split where there was one.
    pub passes: Vec<(f64, Option<f64>)>,
}

/// A forecast beside what came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForecastFacts {
    /// What was expected.
    pub forecast: headstart_core::Forecast,
    /// Seconds it took.
    pub seconds: f64,
    /// Most memory held, MiB.
    pub peak_mb: Option<f64>,
    /// Features written to the cache, MiB.
    pub cache_mb: f64,
}

/// What there was to learn from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataSummary {
    /// Where it lies, as the user named it.
    pub path: String,
    /// blake3 of all examples and labels.
    pub blake3: String,
    /// Examples learned from.
    pub n_train: usize,
    /// Examples judged by.
    pub n_test: usize,
    /// By class or label, in the order of the plan's classes.
    pub classes: Vec<ClassCounts>,
    /// How the numbers are spread, by split; empty unless numbers were asked for.
    #[serde(default)]
    pub numbers: Vec<NumberCounts>,
    /// What was skipped or noticed: the first few.
    pub diagnostics: Vec<Diagnostic>,
    /// How many there are in all.
    pub n_diagnostics: usize,
    /// How many examples were left out because of them.
    pub n_skipped: usize,
}

/// Examples of one class, by split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCounts {
    /// Its name.
    pub class: String,
    /// Learned from.
    pub n_train: usize,
    /// Chosen by.
    pub n_valid: usize,
    /// Judged by.
    pub n_test: usize,
}

/// The numbers of one split.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NumberCounts {
    /// The split.
    pub split: SplitName,
    /// How they are spread.
    pub numbers: NumberSummary,
}

/// How the rival from random weights learned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScratchCurve {
    /// In order.
    pub passes: Vec<ScratchPass>,
    /// The split whose accuracy was measured after each pass.
    pub accuracy_split: SplitName,
}

/// One pass over the training examples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ScratchPass {
    /// Mean training loss over the pass: nats, or squares of the standardised target.
    pub train_loss: f64,
    /// Accuracy after it.
    pub accuracy: Option<f64>,
}

/// How the strength of the L2 penalty was chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct L2Curve {
    /// By rising strength.
    pub points: Vec<L2Point>,
    /// The strength that was chosen.
    pub chosen: f64,
    /// Folds of the cross-validation.
    pub n_folds: usize,
}

/// One strength tried.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct L2Point {
    /// λ in `mean loss + λ/2·‖W‖²`.
    pub l2: f64,
    /// Mean loss on the held-out folds: nats, or squares of the target.
    pub loss: f64,
    /// Standard error of that mean over the folds.
    pub loss_se: Option<f64>,
}

/// Test examples that it got wrong.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Mistakes {
    /// How many there are.
    pub n: usize,
    /// Those to show; the page sorts them, the surest first.
    pub shown: Vec<Mistake>,
}

/// One test example that it got wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mistake {
    /// How people find it again.
    pub id: String,
    /// What it is.
    pub content: MistakeContent,
    /// What was said of it, and what would have been right.
    pub answer: Answer,
}

/// A wrong answer beside the right one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Another class.
    Class {
        /// Position of its class.
        truth_idx: usize,
        /// Position of the predicted class.
        predicted_idx: usize,
        /// Probability of the predicted class.
        probability: f32,
        /// Probability of its own class.
        probability_truth: f32,
    },
    /// Other labels.
    Labels {
        /// Positions of labels that apply and were not named.
        missed: Vec<usize>,
        /// Positions of labels that were named and do not apply.
        invented: Vec<usize>,
    },
    /// Another number.
    Number {
        /// The right one.
        truth: f64,
        /// The predicted one.
        predicted: f64,
    },
}

/// What an example is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MistakeContent {
    /// A small picture.
    Picture(Picture),
    /// A text.
    Text(String),
}

/// A small picture, encoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// How.
    pub media_type: MediaType,
    /// The file's bytes.
    #[serde(with = "base64_text")]
    pub bytes: Vec<u8>,
}

/// How a picture is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaType {
    /// PNG.
    Png,
    /// JPEG.
    Jpeg,
}

/// A stretch of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// What was done: `Extract features`.
    pub what: String,
    /// How long it took.
    pub seconds: f64,
}

/// What the cache of frozen features did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheFacts {
    /// Examples whose features were there already.
    pub n_hits: usize,
    /// Examples whose features were computed.
    pub n_misses: usize,
    /// Its size on the disk now.
    pub size_bytes: u64,
}

/// A name and a value: a seed, a hash, a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// What it is.
    pub name: String,
    /// It.
    pub value: String,
}

impl DataSummary {
    /// Examples of all splits.
    pub(crate) fn n_examples(&self) -> usize {
        self.n_train + self.n_test + self.classes.iter().map(|c| c.n_valid).sum::<usize>()
    }
}

impl ClassCounts {
    /// Examples of all splits.
    pub(crate) fn n(&self) -> usize {
        self.n_train + self.n_valid + self.n_test
    }
}

impl Picture {
    /// As the value of an `src`.
    pub(crate) fn data_uri(&self) -> String {
        use base64::Engine;
        let kind = match self.media_type {
            MediaType::Png => "png",
            MediaType::Jpeg => "jpeg",
        };
        format!("data:image/{kind};base64,{}", base64::engine::general_purpose::STANDARD.encode(&self.bytes))
    }
}

/// Bytes as base64, so that the data is no page of numbers as JSON.
mod base64_text {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(d)?).map_err(D::Error::custom)
    }
}
