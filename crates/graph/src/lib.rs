//! A model as data: `Model = Graph + Weights + Preprocess + Labels + Card`.
//!
//! Everything transfer learning does to a network is a rewrite of a [`Graph`] (see [`rewrite`]), written once for
//! all architectures.  This crate does no I/O and, but for [`rewrite::fold`], no arithmetic on weights; it knows
//! nothing of devices, files or training.

mod alike;
mod builder;
mod card;
mod distance;
mod error;
mod expr;
mod function;
mod graph;
mod kind;
mod literal;
mod model;
mod op;
mod preprocess;
mod render;
pub mod rewrite;
mod shape;
mod weights;

pub use alike::{Pairs, Unlike, pair_parameters};
pub use builder::{Conv, GraphBuilder};
pub use card::Card;
pub use distance::{disentangled_row, relative_position_bucket};
pub use error::GraphError;
pub use expr::Expr;
pub use function::{
    AxisRange, Binary, Cell, Coordinates, Direction, ElementKind, Interpolation, PadMode, Reduction,
    Resampling, Rounding, Unary,
};
pub use graph::{Graph, Init, InputSpec, Node, Output, Param, Role, Value, ValueId, ValueKind};
pub use kind::{output_kind, value_kinds};
pub use literal::{Elements, Literal};
pub use model::Model;
pub use op::{Attention, Op, Padding};
pub use preprocess::{Filter, ImagePreprocess, Preprocess, Resize, TextPreprocess};
pub use render::{render, thousands};
pub use shape::{Dim, Shape, multiply_adds, output_shape, window_count};
pub use weights::{DType, Tensor, Weights};
