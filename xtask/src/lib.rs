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

use std::process::{Command, ExitCode};

/// The cargo that started this program, without what it says of it: a build script that reads such would run again, and what stands on
/// it be built again.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|of_us| name.to_string_lossy().starts_with(of_us)) {
            command.env_remove(name);
        }
    }
    command
}

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
