//! The rewrites that transfer learning is made of, one a file, written once for all architectures.

mod adapt;
mod append;
mod copy;
mod cut;
mod fold;
mod freeze;
mod frontier;
mod graft;
mod rename_input;
mod resize;
mod take_pictures;
mod tap;

pub use adapt::{
    Adapter, AdapterKind, LoraSpec, adapt, adapted_weight, adapter_owner, merge, remove, start_magnitudes,
};
pub use append::{append, extend};
pub use cut::{cut, cut_at, main_output};
pub use fold::fold;
pub use freeze::{FreezeMask, Group, Part, group_of, groups, is_adapters, params_of};
pub use frontier::{Divided, split_at_frontier};
pub use graft::{HeadSpec, graft, graft_beside};
pub use rename_input::rename_input;
pub use resize::resize;
pub use take_pictures::{PictureLayout, take_pictures};
pub use tap::{Tap, tap, tap_at};
