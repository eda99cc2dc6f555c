//! Chores of the workspace, as a library so that tests can call them.

pub mod benchmarks;
pub mod ci;
pub mod fuzz;
pub mod golden;
pub mod gpu_smoke;
pub mod interop;
pub mod onnx;
pub mod study;
