//! Fits heads and networks.  [`fit_head`] fits the convex head of a task on frozen features, its strength chosen by
//! cross-validation; [`train_network`] trains whatever a mask lets learn.  Knows no recipe by name, and nothing of files.

mod axes;
mod cv;
mod error;
mod fixmatch;
mod folds;
mod head;
mod lbfgs;
mod logistic;
mod mix;
mod network;
mod objective;
mod pairs;
mod permutation;
mod predict;
mod prototype;
mod ridge;
mod sample;
mod standardise;
mod target_scale;
mod tune;

pub use cv::CvPoint;
pub use error::TrainError;
pub use fixmatch::{FixMatchSpec, PseudoLabels};
pub use head::{HeadFit, activate, fit_head, predict_head};
pub use logistic::{LogisticSpec, default_l2_candidates, fit, fit_labels};
pub use mix::{MixSpec, Mixed, cutmix, mixup};
pub use network::{NetworkSpec, PassPoint, in_batches, train_network};
pub use pairs::{Pair, PairBalance, PairSpec, PairStream};
pub use predict::{predict_proba, softmax};
pub use prototype::{Distance, LeaveOneOut, PrototypeFit, PrototypeSpec, fit_prototypes};
pub use ridge::{RidgeSpec, fit_ridge};
pub use sample::{BalancedSampler, ClassWeights, length_grouped, padding_share};
pub use target_scale::TargetScale;
pub use tune::{
    Guards, Job, Lessons, Objective, Outputs, Progress, State, TuneError, TunedPass, Unlabelled, Validate,
    Watch, changes, find_lr, fine_tune, interpolate, mean, relation,
};
