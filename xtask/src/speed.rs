//! `cargo xtask speed`: whether networks still reach their share of what this machine's cores can do.
//!
//! What is measured is the ratio to chains of independent multiply-adds, timed between the runs of the same process, so the
//! check depends neither on the machine's clock nor on who else uses it.  Floors are about half of what a quiet
//! machine with AVX-512, VNNI and BF16 reaches: they hear a kernel that is no longer called, not one that is a little slower.
//! Other machines are measured, and not judged.

use std::process::{Command, ExitCode};

use headstart_core::Precision;
use headstart_engine::Device;
use serde::Deserialize;

/// Work, network, batch, precision, and the least share of the cores' peak in that precision.
const FLOORS: [(&str, &str, &str, &str, f64); 7] = [
    ("forward", "resnet18", "16", "f32", 0.8),
    ("forward", "mobilenet_v2", "16", "f32", 0.3),
    ("forward", "resnet50", "8", "bf16", 0.4),
    ("forward", "minilm-l6", "16", "f32", 0.35),
    ("forward", "minilm-l6", "16", "int8", 0.25),
    ("step", "resnet18", "8", "f32", 0.3),
    ("step", "minilm-l6", "8", "f32", 0.3),
];
/// Tries: somebody else may have had the cores while the network ran, and not while the peak was measured.
const TRIES: usize = 3;

#[derive(Deserialize)]
struct Report {
    share: f64,
}

/// Times every row with `headstart bench`.
pub fn run(headstart: &std::path::Path) -> ExitCode {
    crate::exit(check(headstart))
}

fn check(headstart: &std::path::Path) -> Result<(), String> {
    let mut slow = Vec::new();
    for (work, arch, batch, dtype, floor) in FLOORS {
        let mut best = 0.0f64;
        for _ in 0..TRIES {
            let mut command = Command::new(headstart);
            command.args(["--json", "bench", work, "--arch", arch, "--batch", batch, "--dtype", dtype]);
            let report: Report = crate::benchmarks::answer(&mut command)?;
            best = best.max(report.share);
            if best >= floor {
                break;
            }
        }
        println!("{work} {arch} {dtype}: {best:.2} of the cores' peak (at least {floor})");
        if best < floor && Device::cpu().accelerates(Precision::Int8) {
            slow.push(format!("{work} {arch} {dtype}"));
        }
    }
    if slow.is_empty() { Ok(()) } else { Err(format!("too slow: {}", slow.join(", "))) }
}
