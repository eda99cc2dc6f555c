//! `cargo xtask study`: one fit with several seeds; the mean gain over the probe, with Student's interval over the seeds.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use headstart_trust::student_t;

/// What is fitted, how often.
pub struct Study {
    /// Seeds, from 0.
    pub n_seeds: u64,
    /// Whether each seed also draws another split.
    pub resplit: bool,
    /// The program.
    pub headstart: PathBuf,
    /// Folder of the runs.
    pub out: PathBuf,
    /// Arguments of `headstart fit` but `--seed` and `--out`.
    pub fit: Vec<String>,
}

/// Runs all seeds, one after the other, and prints a table.
pub fn run(study: &Study) -> ExitCode {
    crate::exit(table(study))
}

fn table(study: &Study) -> Result<(), String> {
    let mut gains = Vec::new();
    let (mut sum, mut sum_probe) = (0.0, 0.0);
    println!("| seed | {} | probe | gain | seconds |\n|---|---|---|---|---|", study.fit.join(" "));
    for seed in 0..study.n_seeds {
        let run = one(study, seed)?;
        let number = |path: &str| {
            run.pointer(path).and_then(serde_json::Value::as_f64).ok_or(format!("the run says no {path}"))
        };
        let (test, probe) = (number("/test")?, number("/baselines/probe")?);
        let seconds = number("/seconds/total")?;
        println!("| {seed} | {test:.4} | {probe:.4} | {:+.4} | {seconds:.0} |", test - probe);
        gains.push(test - probe);
        sum += test;
        sum_probe += probe;
    }
    let n = study.n_seeds as f64;
    let gain = gains.iter().sum::<f64>() / n;
    println!("| mean | {:.4} | {:.4} | {gain:+.4} | |", sum / n, sum_probe / n);
    if let Some(ci) = student_t(&gains) {
        println!(
            "\ngain over the probe {gain:+.4}, 95 % interval over {n} seeds {:+.4} to {:+.4}",
            ci.lo, ci.hi
        );
    }
    Ok(())
}

/// The summary of one run.
fn one(study: &Study, seed: u64) -> Result<serde_json::Value, String> {
    let seed = seed.to_string();
    let mut command = Command::new(&study.headstart);
    command.arg("fit").args(&study.fit).args(["--json", "--seed", &seed]);
    if study.resplit {
        command.args(["--split-seed", &seed]);
    }
    command.arg("--out").arg(study.out.join(&seed));
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|e| format!("{}: {e}", study.headstart.display()))?;
    // 1 is an answer too: the recipe did not help.
    if !matches!(output.status.code(), Some(0 | 1)) {
        return Err(format!("seed {seed}: {}", output.status));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| format!("seed {seed}: {e}"))
}
