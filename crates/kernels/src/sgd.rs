//! One step of stochastic gradient descent with momentum, in one pass over a parameter and its velocity.
//!
//! ```text
//! v ← μ·v + (g + λ·w)      w ← w − lr·v
//! ```

use rayon::prelude::*;

use crate::CHUNK;
use crate::simd::widest_fn;

/// The numbers of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Learning rate.
    pub lr: f64,
    /// μ: share of the velocity that goes on.
    pub momentum: f64,
    /// λ: weight decay, as an L2 penalty on the gradient.
    pub weight_decay: f64,
}

/// Updates `param` and its velocity, which starts at 0.
///
/// ```
/// use headstart_kernels::sgd::{Step, update};
/// let step = Step { lr: 0.5, momentum: 0.5, weight_decay: 1.0 };
/// let (mut w, mut v) = ([1.0], [0.0]);
/// update(&step, &[1.0], &mut w, &mut v);
/// assert_eq!((w, v), ([0.0], [2.0]));
/// update(&step, &[1.0], &mut w, &mut v);
/// assert_eq!((w, v), ([-1.0], [2.0]));
/// ```
pub fn update(step: &Step, grad: &[f32], param: &mut [f32], velocity: &mut [f32]) {
    param
        .par_chunks_mut(CHUNK)
        .zip(velocity.par_chunks_mut(CHUNK))
        .zip(grad.par_chunks(CHUNK))
        .for_each(|((param, velocity), grad)| update_here(step, grad, param, velocity));
}

widest_fn! {
    /// The same on this thread.
    fn update_here(step: &Step, grad: &[f32], param: &mut [f32], velocity: &mut [f32]) {
        let [lr, momentum, decay] = [step.lr as f32, step.momentum as f32, step.weight_decay as f32];
        for ((w, v), g) in param.iter_mut().zip(velocity).zip(grad) {
            *v = *v * momentum + (g + *w * decay);
            *w -= *v * lr;
        }
    }
}
