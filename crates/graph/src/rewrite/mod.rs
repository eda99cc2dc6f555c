//! The rewrites that transfer learning is made of, one a file, written once for all architectures.

mod append;
mod cut;
mod fold;
mod freeze;
mod graft;
mod resize;
mod tap;

pub use append::append;
pub use cut::{cut, cut_at};
pub use fold::fold;
pub use freeze::{FreezeMask, Group, groups};
pub use graft::{HeadSpec, graft};
pub use resize::resize;
pub use tap::{Tap, tap, tap_at};
