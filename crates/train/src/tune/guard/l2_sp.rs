//! L2-SP: weights are pulled towards the source's, not towards 0 (Xuhong, Grandvalet and Davoine, 2018, *Explicit
//! Inductive Bias for Transfer Learning with Convolutional Networks*).
//!
//! ```text
//! loss + α/2·‖w − w₀‖²,   w₀ the source's weights; the new head is left to weight decay
//! ```

/// Whether a parameter has a source's value to be pulled to.
pub(super) fn is_pulled(name: &str) -> bool {
    !name.starts_with("head.") && !headstart_graph::rewrite::is_adapters(name)
}
