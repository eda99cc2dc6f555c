//! Fits heads and networks.  [`fit`] is the convex head: multinomial logistic regression on frozen features, its strength
//! chosen by cross-validation.  Knows no recipe by name, and nothing of files.

mod axes;
mod error;
mod folds;
mod lbfgs;
mod logistic;
mod network;
mod objective;
mod predict;
mod standardise;

pub use error::TrainError;
pub use logistic::{CvPoint, LogisticFit, LogisticSpec, default_l2_candidates, fit};
pub use network::{NetworkSpec, PassPoint, train_network};
pub use predict::{predict_proba, softmax};
