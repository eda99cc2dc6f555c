//! `cargo xtask …`: chores of the workspace.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the workspace")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Run every check that CI runs
    Ci,
    /// Compare the GPU with the processor on a small network; builds with `--features gpu` first
    GpuSmoke,
    /// Compare ONNX networks with what onnxruntime and PyTorch answered; one JSON line a file
    Onnx {
        /// Folder of .onnx files, each with what `crates/formats/tests/onnx/survey.py` recorded beside it
        dir: PathBuf,
        /// Only files whose name contains this
        #[arg(long, default_value = "")]
        only: String,
        /// Leave the networks, written again, in this folder
        #[arg(long, value_name = "DIR")]
        write: Option<PathBuf>,
        /// Version of the operators that are written
        #[arg(long, default_value_t = 17)]
        opset: i64,
    },
    /// Fuzz the readers of files: seeds first, then what follows from them
    Fuzz {
        /// Readers, by the names in `fuzz/fuzz_targets`; all without one
        targets: Vec<String>,
        /// Seconds for each
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Exchange folders, adapters and networks with transformers, PEFT and onnxruntime, both ways; needs Python
    Interop {
        /// A Python that has torch, transformers, sentence-transformers, peft, onnx and onnxruntime; installed under target/ if
        /// none is named
        #[arg(long)]
        python: Option<PathBuf>,
    },
    /// Fit the same with several seeds, and say by how much the recipe beats the probe, with its interval
    Study {
        /// How many seeds, from 0
        #[arg(long, default_value_t = 5)]
        seeds: u64,
        /// Draw other splits (and shots) with each seed too
        #[arg(long)]
        resplit: bool,
        /// The program
        #[arg(long, default_value = "target/release/headstart")]
        headstart: PathBuf,
        /// Folder of the runs
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// What `headstart fit` is told: data, source, recipe, settings
        #[arg(last = true, required = true)]
        fit: Vec<String>,
    },
    /// Time Headstart and its peers in turn, and write BENCHMARKS.md
    Benchmarks {
        /// A Python that has torch, torchvision, timm, transformers, onnx and onnxruntime; installed under target/ if none is
        /// named
        #[arg(long)]
        python: Option<PathBuf>,
        /// The program
        #[arg(long, default_value = "target/release/headstart")]
        headstart: PathBuf,
        /// Rounds of every row
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Threads of everyone
        #[arg(long, default_value_t = 2)]
        threads: usize,
        /// Only rows whose name contains this
        #[arg(long, default_value = "")]
        only: String,
        /// Folder of tables for whole jobs: hymenoptera/labels.csv, sign_digits/labels.csv (path,label), trec.csv, sst2.csv and
        /// sms_spam.csv (text,label); without it networks alone are timed
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        /// Where the page is written
        #[arg(long, default_value = "BENCHMARKS.md")]
        out: PathBuf,
    },
    /// Check that networks reach their share of what the cores can do
    Speed {
        /// The program
        #[arg(long, default_value = "target/release/headstart")]
        headstart: PathBuf,
    },
    /// Compare architectures with numbers that their reference implementations made; one JSON line a file
    Golden {
        /// Files in the form of crates/zoo/tests/golden/*.json
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    match Cli::parse().chore {
        Chore::Ci => xtask::ci::run(),
        Chore::GpuSmoke => gpu_smoke(),
        Chore::Golden { files } => golden(&files),
        Chore::Study { seeds, resplit, headstart, out, fit } => {
            xtask::study::run(&xtask::study::Study { n_seeds: seeds, resplit, headstart, out, fit })
        }
        Chore::Speed { headstart } => xtask::speed::run(&headstart),
        Chore::Benchmarks { python, headstart, rounds, threads, only, data, out } => {
            let rounds = rounds.max(1);
            xtask::benchmarks::run(&xtask::benchmarks::Benchmarks {
                python,
                headstart,
                rounds,
                threads,
                only,
                data,
                out,
            })
        }
        Chore::Fuzz { targets, seconds } => xtask::fuzz::run(&targets, seconds),
        Chore::Interop { python } => xtask::interop::run(python),
        Chore::Onnx { dir, only, write, opset } => {
            onnx(&dir, &only, write.as_deref().map(|dir| (dir, opset)))
        }
    }
}

fn onnx(dir: &std::path::Path, only: &str, written: Option<(&std::path::Path, i64)>) -> ExitCode {
    match xtask::onnx::check_all(dir, only, written, &|line| println!("{line}")) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(e) => {
            eprintln!("error: {}: {e}", dir.display());
            ExitCode::from(3)
        }
    }
}

fn golden(files: &[PathBuf]) -> ExitCode {
    let mut all_ok = true;
    for path in files {
        match xtask::golden::check(path) {
            Ok(outcome) => {
                all_ok &= outcome.ok;
                println!("{}", serde_json::to_string(&outcome).expect("numbers and strings"));
            }
            Err(e) => {
                all_ok = false;
                let line = serde_json::json!({"file": path, "ok": false, "error": e.to_string()});
                println!("{line}");
            }
        }
    }
    if all_ok { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// Without the feature, the chore builds itself anew with it: a plain `cargo xtask` must stay quick to build.
fn gpu_smoke() -> ExitCode {
    if !cfg!(feature = "gpu") {
        let args = ["run", "--release", "--package", "xtask", "--features", "gpu", "--", "gpu-smoke"];
        return match xtask::cargo().args(args).status() {
            Ok(status) if status.success() => ExitCode::SUCCESS,
            Ok(_) => ExitCode::from(1),
            Err(e) => {
                eprintln!("error: {e}");
                ExitCode::from(3)
            }
        };
    }
    match xtask::gpu_smoke::run() {
        Ok(outcome) => {
            println!("{}", serde_json::to_string(&outcome).expect("numbers"));
            if outcome.ok { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::from(3)
        }
    }
}
