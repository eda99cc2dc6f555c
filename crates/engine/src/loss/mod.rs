//! What training makes small: one loss a file, all from a network's outputs and [`TargetRows`].

mod binary_cross_entropy;
mod cross_entropy;
mod focal;
mod huber;
mod pieces;
mod sequence;
mod squared_error;
#[cfg(test)]
mod tests;

use burn_backend::ops::FloatTensorOps;
use burn_dispatch::Dispatch as B;
use headstart_core::{Array, TargetRows, Task, Values};

pub use cross_entropy::cross_entropy;
pub use pieces::{add_scaled, host, mean_square, mean_square_from, pair_loss, projected_square};
pub use sequence::{ctc_loss, last_axis_as_rows, span_loss};

use crate::tensor::{T, from_array, from_f32, scale, to_array};
use crate::{Device, EngineError};

/// A loss over outputs `[n, width]`, the mean over examples (and, but for classes, over outputs).
///
/// Every loss takes its targets as [`TargetRows`]: one row an example, a distribution over the classes, 0 or 1 a label, or
/// numbers.  So examples that were mixed (mixup, cutmix) need nothing but mixed rows.
///
/// ```
/// use headstart_core::{Array, Batch, Targets, Task};
/// use headstart_engine::{Device, Loss, Network, random_weights};
/// use headstart_graph::GraphBuilder;
///
/// let mut b = GraphBuilder::new("line");
/// let x = b.image("image", [3, 4, 4]);
/// let x = b.global_avg_pool("pool", x)?;
/// let y = b.linear("fc", x, 1)?;
/// let graph = b.finish([("value", y)])?;
/// let net = Network::load(graph.clone(), &random_weights(&graph, 0)?, &Device::cpu())?;
/// let batch = Batch::image(Array::f32(&[2, 3, 4, 4], vec![0.0; 96]));
/// let rows = Targets::Number(vec![1.0, -3.0]).rows(1);
/// let loss = Loss::of_task(Task::Regression);
/// let (value, _) = net.gradients(&batch, &|_| true, &|made| loss.value(made.output(), &rows, made.device))?;
/// assert!((value - 5.0).abs() < 0.5); // pictures of zeros: the output is the bias, near 0
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Loss {
    /// Softmax cross-entropy: one class an example.
    CrossEntropy {
        /// How much of each target is spread over all classes, 0 to 1 (Szegedy et al., 2016).
        label_smoothing: f64,
        /// How much each class counts; equally if none.
        class_weights: Option<Vec<f32>>,
    },
    /// Sigmoid cross-entropy: any number of labels an example.
    BinaryCrossEntropy {
        /// How much more a label counts where it applies, by label; as much as where it does not if none.
        positive_weights: Option<Vec<f32>>,
    },
    /// Softmax cross-entropy that turns from what is easy (Lin et al., 2017).
    Focal {
        /// How much: 0 is cross-entropy, 2 the paper's choice.
        gamma: f64,
        /// How much each class counts; equally if none.
        class_weights: Option<Vec<f32>>,
    },
    /// The same for labels, each on its own.
    BinaryFocal {
        /// How much it turns from what is easy.
        gamma: f64,
        /// Share of the attention that goes to labels that apply, 0 to 1 (0.25 in the paper); all alike if none.
        alpha: Option<f64>,
    },
    /// Mean squared error.
    SquaredError,
    /// Squared near 0, straight beyond: outliers pull with a bounded force (Huber, 1964).
    Huber {
        /// Where it turns straight, above 0, in the unit of the (usually standardised) target.
        delta: f64,
    },
}

impl Loss {
    /// The plain loss of a task.
    pub fn of_task(task: Task) -> Self {
        match task {
            Task::Classification => Loss::CrossEntropy { label_smoothing: 0.0, class_weights: None },
            Task::MultiLabel => Loss::BinaryCrossEntropy { positive_weights: None },
            Task::Regression => Loss::SquaredError,
        }
    }

    /// Its value for outputs that were read back.
    pub fn of_arrays(&self, output: &Array, rows: &TargetRows, device: &Device) -> Result<f64, EngineError> {
        let value = to_array(self.value(from_array(output, device.plain()), rows, device))?;
        let Values::F32(value) = value.values else { unreachable!("a loss is f32") };
        Ok(f64::from(value.first().copied().unwrap_or(f32::NAN)))
    }

    /// Its value for raw outputs (logits or numbers) `[n, width]`.
    ///
    /// # Panics
    /// If outputs, rows and weights do not fit each other: a mistake of the caller.
    pub fn value(&self, output: T, rows: &TargetRows, device: &Device) -> T {
        let shape = crate::tensor::dims(&output);
        assert_eq!(shape, [rows.len(), rows.width], "one row of targets an example");
        match self {
            Loss::CrossEntropy { label_smoothing, class_weights } => {
                let weights = class_weights.as_deref();
                cross_entropy::of_rows(output, rows, *label_smoothing, weights, device)
            }
            Loss::BinaryCrossEntropy { positive_weights } => {
                binary_cross_entropy::of_rows(output, rows, positive_weights.as_deref(), device)
            }
            Loss::Focal { gamma, class_weights } => {
                focal::of_rows(output, rows, *gamma, class_weights.as_deref(), device)
            }
            Loss::BinaryFocal { gamma, alpha } => focal::binary(output, rows, *gamma, *alpha, device),
            Loss::SquaredError => squared_error::of_rows(output, rows, device),
            Loss::Huber { delta } => huber::of_rows(output, rows, *delta, device),
        }
    }
}

/// A constant of the rows' shape, made cell by cell from `(class, target)`.
fn constant(rows: &TargetRows, device: &Device, cell: impl Fn(usize, f32) -> f32) -> T {
    let values = rows.values.iter().enumerate().map(|(i, t)| cell(i % rows.width, *t)).collect();
    from_f32(&[rows.len(), rows.width], values, device.plain())
}

/// The weight of a class; 1 without weights.
fn weight_of(weights: Option<&[f32]>, class_idx: usize) -> f32 {
    weights.map_or(1.0, |w| w[class_idx])
}

/// Mean over all cells.
fn mean(t: T, n_cells: usize) -> T {
    scale(B::float_sum(t), 1.0 / n_cells.max(1) as f64)
}
