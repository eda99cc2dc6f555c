//! `cargo xtask interop`: folders go from transformers to Headstart and back, with the real libraries.
//!
//! Not part of the plain tests: it needs a Python with torch, transformers and sentence-transformers, which it installs
//! into `target/interop` unless one is named.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What is installed where no Python is named.
const PACKAGES: [&str; 3] = ["torch", "transformers", "sentence-transformers"];

/// Makes folders, reads and writes them, and checks what was written.
pub fn run(python: Option<PathBuf>) -> ExitCode {
    match steps(python) {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("error: {what}");
            ExitCode::from(1)
        }
    }
}

fn steps(python: Option<PathBuf>) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let script = root.join("xtask/src/interop.py");
    let python = match python {
        Some(python) => python,
        None => environment(&root.join("target/interop"), &PACKAGES)?,
    };
    let folders = root.join("target/interop-folders");
    if folders.exists() {
        std::fs::remove_dir_all(&folders).map_err(|e| format!("{}: {e}", folders.display()))?;
    }
    run_one("making networks", Command::new(&python).arg(&script).arg("make").arg(&folders))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let example = ["run", "--release", "--package", "headstart", "--example", "interop", "--"];
    run_one("reading and writing", Command::new(cargo).args(example).arg(&folders))?;
    run_one("checking what was written", Command::new(&python).arg(&script).arg("check").arg(&folders))
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
    match command.env("HF_HUB_OFFLINE", "1").env("TOKENIZERS_PARALLELISM", "false").status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{what} failed: {status}")),
        Err(e) => Err(format!("{what}: {}: {e}", command.get_program().display())),
    }
}
