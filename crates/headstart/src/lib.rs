//! Transfer learning end to end: a published network and your small labelled folder or table in, a proven and sealed
//! model out.
//!
//! The facade wires the stages together; each verb of the command line is one function here.
//!
//! ```no_run
//! use headstart::{FitOptions, Session, SessionOptions, Silent, fit};
//! let session = Session::new(SessionOptions::new("cache".into()), Box::new(Silent));
//! let options = FitOptions::new("efficientnet-lite0");
//! let summary = fit(&session, "photos".as_ref(), "runs/photos".as_ref(), &options)?;
//! println!("{} {:.3}", summary.verdict, summary.test);
//! # Ok::<(), headstart::Error>(())
//! ```

mod auto;
mod bench;
mod bundled;
mod by_rename;
mod check;
mod checkpoint;
mod convert;
mod demo;
mod error;
mod evaluate;
mod export;
mod feature_cache;
mod features;
mod fit;
mod forecast;
mod hub_folder;
mod inspect;
mod lessons;
mod model_file;
mod onnx_source;
mod package;
mod peft;
mod precision;
mod predict;
mod predictions_csv;
mod prefix;
mod proof;
mod record;
mod rival;
mod run;
mod runner;
mod save_hub_folder;
mod seeded_inputs;
mod session;
mod source;
mod tune;
mod unlabelled;
mod verify;

pub use bench::{BenchOptions, BenchReport, BenchWork, bench};
pub use check::{CheckReport, check};
pub use convert::{ConvertOptions, ConvertSummary, OutputParity, convert};
pub use demo::{DemoOutcome, DemoPrediction, demo};
pub use error::Error;
pub use evaluate::{Evaluation, evaluate};
pub use export::{ExportFormat, ExportOptions, ExportSummary, export};
pub use features::{FeaturesSummary, features};
pub use fit::{FitOptions, Planned, default_out, fit, plan};
pub use headstart_graph::thousands;
pub use headstart_report::bytes;
pub use inspect::{
    ArchitectureFacts, DTypeFacts, FileFacts, GraphFacts, GroupFacts, Inspection, OnnxFacts, TapFacts,
    TensorFacts, inspect,
};
pub use model_file::{ModelFileOptions, ModelFormat};
pub use peft::AdapterSet;
pub use precision::PrecisionChoice;
pub use predict::{Prediction, Predictor};
pub use record::FitSummary;
pub use save_hub_folder::save_hub_folder;
pub use session::{Observer, Session, SessionOptions, Silent};
pub use source::{Source, SourceOptions, build_architecture, modality};
pub use tune::Resume;
pub use verify::{Verification, verify};

pub use headstart_core::{
    Diagnostic, Forecast, Input, Metric, Modality, NumberSummary, Plan, Precision, SplitName, Task,
    TrainingPlan, UnknownName, Verdict,
};
pub use headstart_data::{LoadOptions, SplitOptions};
pub use headstart_engine::Device;
pub use headstart_graph::render;
pub use headstart_graph::rewrite::groups;
pub use headstart_recipe::{Recipe, Settings, hyper};
pub use headstart_source::default_cache_dir;
pub use headstart_zoo::{architectures, catalogue};
