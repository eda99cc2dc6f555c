//! The nouns that two or more of Headstart's stages exchange.  No I/O, no tensors of a device, no algorithms beyond
//! counting: a stage imports this crate and never a sibling stage.

mod batch;
mod calibration;
mod dataset;
mod features;
mod metrics;
mod numbers;
mod plan;
mod rng;
mod schedule;
mod splits;
mod target;
mod training;
mod verdict;

pub use batch::{Array, Batch, Values};
pub use calibration::{ReliabilityBin, reliability};
pub use dataset::{Dataset, Diagnostic, Example, Input, Modality, SplitName};
pub use features::Features;
pub use metrics::{
    ClassMetrics, ClassificationMetrics, LabelMetrics, Metric, Metrics, MultiLabelMetrics, RegressionMetrics,
    Scorer,
};
pub use numbers::NumberSummary;
pub use plan::{BaselinePlan, GroupPlan, GroupState, HeadKind, HeadPlan, Plan, Scaling, SplitPlan};
pub use rng::Rng;
pub use schedule::Schedule;
pub use splits::{SealedTest, Splits, TestAlreadyOpened};
pub use target::{Target, TargetRows, Targets, Task, UnknownName};
pub use training::{
    Balance, BatchNorm, Forecast, GroupRate, HeadStart, Interpolation, Objective, OptimiserPlan, Phase,
    Precision, Regulariser, TrainingPlan,
};
pub use verdict::{Comparison, Interval, Verdict};

/// How far a long piece of work is: `(done, total)`.  Called from any thread.
pub type Progress<'a> = &'a (dyn Fn(usize, usize) + Sync);
