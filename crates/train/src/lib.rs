//! Fits heads and networks.  [`fit_head`] fits the convex head of a task on frozen features, its strength chosen by
//! cross-validation; [`train_network`] trains whatever a mask lets learn.  Knows no recipe by name, and nothing of files.

mod axes;
mod cv;
mod error;
mod folds;
mod head;
mod lbfgs;
mod logistic;
mod network;
mod objective;
mod predict;
mod ridge;
mod standardise;
mod tune;
mod target_scale;

pub use cv::CvPoint;
pub use error::TrainError;
pub use head::{HeadFit, activate, fit_head, predict_head};
pub use logistic::{LogisticSpec, default_l2_candidates, fit, fit_labels};
pub use network::{NetworkSpec, PassPoint, in_batches, train_network};
pub use predict::{predict_proba, softmax};
pub use ridge::{RidgeSpec, fit_ridge};
pub use target_scale::TargetScale;
pub use tune::{
    Guards, Job, Lessons, Objective, Outputs, Progress, State, StepTargets, TuneError, TunedPass, Unlabelled, Watch,
    find_lr, fine_tune, interpolate, mean, relation,
};
