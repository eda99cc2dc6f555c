//! Is the number believable?  Intervals for what a test split says, comparisons with what a model must beat, and whether
//! its probabilities mean what they say.  Draws no conclusions of its own: the rule from intervals to a verdict is
//! [`headstart_core::Verdict::of`].

mod baseline;
mod error;
mod interval;
mod paired;
mod verdict;

pub use baseline::Simplest;
pub use error::TrustError;
pub use interval::{bootstrap, bootstrap_counts, clopper_pearson, student_t, wilson};
pub use paired::{mcnemar_p, paired_bootstrap, paired_gain};
pub use verdict::{Judgement, judge, score_interval};
