//! Networks that will not learn any more, compiled: a flat list of fused steps over an arena that is planned once.
//!
//! ```text
//! Graph ─ fusion ─▶ fused operators ─ part ─▶ early and late ─ placement ─▶ views in an arena ─ steps ─▶ kernels
//! ```
//!
//! Convolutional networks are compiled as a whole or not at all; what is not is interpreted.  Activations and sums are done
//! in the convolution before them, weights are packed once, channels lie next to each other, concatenations are written in place, and a batch takes no
//! memory but its result.  An example's numbers depend on nothing beside it.

mod arena;
mod frozen;
mod fusion;
mod part;
mod placement;
mod steps;
#[cfg(test)]
mod tests;

pub use frozen::Frozen;
