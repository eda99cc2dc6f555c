//! Fits heads and networks.  [`fit`] is the convex head: multinomial logistic regression on frozen features, its strength
//! chosen by cross-validation.  Knows no recipe by name, and nothing of files.

mod axes;
mod distribution_alignment;
mod error;
mod fixmatch;
mod folds;
mod lbfgs;
mod logistic;
mod mix;
mod network;
mod objective;
mod pairs;
mod permutation;
mod predict;
mod prototype;
mod sample;
mod standardise;

pub use distribution_alignment::DistributionAlignment;
pub use error::TrainError;
pub use fixmatch::{FixMatchSpec, PseudoLabels, fixmatch_lr};
pub use logistic::{CvPoint, LogisticFit, LogisticSpec, default_l2_candidates, fit};
pub use mix::{MixSpec, Mixed, cutmix, mixup, soft_targets};
pub use network::{NetworkSpec, PassPoint, train_network};
pub use pairs::{Pair, PairBalance, PairSpec, PairStream};
pub use predict::{predict_proba, softmax};
pub use prototype::{Distance, LeaveOneOut, PrototypeFit, PrototypeSpec, fit_prototypes};
pub use sample::{BalancedSampler, ClassWeights, length_grouped, padding_share};
