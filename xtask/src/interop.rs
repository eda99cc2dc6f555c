//! `cargo xtask interop`: folders and adapters go from transformers and PEFT to Headstart and back, with the real libraries;
//! onnxruntime runs what was written as ONNX.
//!
//! Not part of the plain tests: it needs a Python with those libraries, which it installs into `target/interop` unless one is
//! named.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What is installed where no Python is named.
const PACKAGES: [&str; 7] =
    ["torch", "transformers", "sentence-transformers", "peft", "onnx", "onnxruntime", "pillow"];

/// Makes folders, reads and writes them, and checks what was written.
pub fn run(python: Option<PathBuf>) -> ExitCode {
    crate::exit(steps(python))
}

fn steps(python: Option<PathBuf>) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let scripts = ["interop.py", "interop_fits.py"].map(|name| root.join("xtask/src").join(name));
    let python = match python {
        Some(python) => python,
        None => environment(&root.join("target/interop"), &PACKAGES)?,
    };
    let folders = root.join("target/interop-folders");
    if folders.exists() {
        std::fs::remove_dir_all(&folders).map_err(|e| format!("{}: {e}", folders.display()))?;
    }
    for script in &scripts {
        run_one("making networks", Command::new(&python).arg(script).arg("make").arg(&folders))?;
    }
    // With the whole workspace's features, as everything else is built.
    let build = ["build", "--release", "--workspace", "--example", "interop"];
    run_one("building", crate::cargo().current_dir(&root).args(build))?;
    run_one("reading and writing", Command::new(root.join("target/release/examples/interop")).arg(&folders))?;
    for script in &scripts {
        run_one("checking what was written", Command::new(&python).arg(script).arg("check").arg(&folders))?;
    }
    Ok(())
}

/// A virtual environment with the packages, made once.
pub(crate) fn environment(dir: &Path, packages: &[&str]) -> Result<PathBuf, String> {
    let python = dir.join("bin/python");
    if !python.exists() {
        run_one("making an environment", Command::new("python3").args(["-m", "venv"]).arg(dir))?;
        run_one(
            "installing",
            Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(packages),
        )?;
    }
    Ok(python)
}

fn run_one(what: &str, command: &mut Command) -> Result<(), String> {
    let quiet =
        [("HF_HUB_OFFLINE", "1"), ("TOKENIZERS_PARALLELISM", "false"), ("PYTHONDONTWRITEBYTECODE", "1")];
    match command.envs(quiet).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{what} failed: {status}")),
        Err(e) => Err(format!("{what}: {}: {e}", command.get_program().display())),
    }
}
