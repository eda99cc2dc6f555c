//! Chores of the workspace, as a library so that tests can call them.

pub mod benchmarks;
pub mod ci;
pub mod fuzz;
pub mod golden;
pub mod gpu_smoke;
pub mod interop;
pub mod onnx;
pub mod speed;
pub mod study;

use std::process::ExitCode;

/// What a chore came to: an error goes to standard error, and the code is 1.
fn exit(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("error: {what}");
            ExitCode::from(1)
        }
    }
}
