//! `cargo xtask benchmarks`: Headstart and its peers in turn on this machine, as the page BENCHMARKS.md.
//!
//! Clocks drift and machines are shared, so nothing is compared with a number from another run: of every row, Headstart
//! and each peer run one after the other, several rounds, and the median of the rounds' ratios counts.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde::Deserialize;

use crate::interop::environment;

/// What is installed where no Python is named.
const PACKAGES: [&str; 6] = ["torch", "torchvision", "timm", "transformers", "onnx", "onnxruntime"];
/// Networks with the batch that they are compared at.
const NETWORKS: [(&str, usize); 6] = [
    ("resnet18", 16),
    ("resnet50", 8),
    ("mobilenet_v2", 16),
    ("tf_efficientnet_lite0", 16),
    ("minilm-l6", 16),
    ("bert-base", 8),
];

/// What is run, and how.
pub struct Benchmarks {
    /// A Python that has the peers; one is made if none is named.
    pub python: Option<PathBuf>,
    /// The program.
    pub headstart: PathBuf,
    /// Rounds of every row.
    pub rounds: usize,
    /// Threads of everyone.
    pub threads: usize,
    /// Only rows whose name contains this.
    pub only: String,
    /// Where the page is written.
    pub out: PathBuf,
}

/// One row of the page.
struct Row {
    work: &'static str,
    arch: &'static str,
    batch: usize,
    dtype: &'static str,
    /// The peer that is to be passed, of those that are run the fastest.
    peers: &'static [&'static str],
    /// The least ratio that the project asks of itself.
    asked: f64,
}

/// What one run answered.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Answer {
    items_per_s: f64,
    peak_mb: f64,
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (arch, batch) in NETWORKS {
        let is_text = !arch.contains("net");
        let asked = if is_text { 1.0 } else { 0.9 };
        rows.push(Row { work: "forward", arch, batch, dtype: "f32", peers: &["onnxruntime"], asked });
        rows.push(Row { work: "forward", arch, batch, dtype: "bf16", peers: &["torch-bf16"], asked: 1.0 });
        if arch != "tf_efficientnet_lite0" {
            rows.push(Row { work: "step", arch, batch, dtype: "f32", peers: &["torch"], asked: 1.1 });
            rows.push(Row { work: "step", arch, batch, dtype: "bf16", peers: &["torch-bf16"], asked: 1.0 });
        }
    }
    rows
}

/// Runs all rows and writes the page.
pub fn run(benchmarks: &Benchmarks) -> ExitCode {
    crate::exit(page(benchmarks))
}

fn page(b: &Benchmarks) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let python = match &b.python {
        Some(python) => python.clone(),
        None => environment(&root.join("target/benchmarks"), &PACKAGES)?,
    };
    let mut page = format!(
        "# Benchmarks\n\nMade by `cargo xtask benchmarks` on {}, {} threads each, {} rounds in turn; a ratio above 1 \
         means that Headstart does more.  Memory is the most that the process held, as a share of the peer's.\n\n\
         | work | Headstart, items/s | peer, items/s | ratio | asked | memory |\n|---|---|---|---|---|---|\n",
        processor(),
        b.threads,
        b.rounds
    );
    for row in rows() {
        let name = format!("{} {} {}", row.work, row.arch, row.dtype);
        if !name.contains(&b.only) {
            continue;
        }
        let (mut ours, mut peers) = (Vec::new(), Vec::new());
        for _ in 0..b.rounds {
            ours.push(own(b, &row)?);
            let all = row.peers.iter().map(|peer| other(b, &python, &root, &row, peer));
            let all = all.collect::<Result<Vec<_>, _>>()?;
            let fastest = all.into_iter().max_by(|a, b| a.items_per_s.total_cmp(&b.items_per_s));
            peers.push(fastest.ok_or("a row has a peer")?);
        }
        let pairs = || ours.iter().zip(&peers);
        let ratio = median(pairs().map(|(o, p)| o.items_per_s / p.items_per_s).collect());
        let memory = median(pairs().map(|(o, p)| o.peak_mb / p.peak_mb).collect());
        let of = |all: &[Answer]| median(all.iter().map(|a| a.items_per_s).collect());
        let line = format!(
            "| {name}, batch {} | {:.1} | {:.1} ({}) | **{ratio:.2}** | {:.1} | {memory:.2} |",
            row.batch,
            of(&ours),
            of(&peers),
            row.peers.join(", "),
            row.asked
        );
        println!("{line}");
        writeln!(page, "{line}").map_err(|e| e.to_string())?;
    }
    std::fs::write(&b.out, page).map_err(|e| format!("{}: {e}", b.out.display()))
}

fn own(b: &Benchmarks, row: &Row) -> Result<Answer, String> {
    let mut command = Command::new(&b.headstart);
    command.args(["bench", row.work, "--arch", row.arch, "--dtype", row.dtype, "--json"]);
    command.args(["--batch", &row.batch.to_string(), "--threads", &b.threads.to_string()]);
    answer(&mut command)
}

fn other(b: &Benchmarks, python: &Path, root: &Path, row: &Row, peer: &str) -> Result<Answer, String> {
    let mut command = Command::new(python);
    command.arg(root.join("xtask/src/benchmarks.py"));
    command.args([row.work, row.arch, &row.batch.to_string(), peer, &b.threads.to_string()]);
    answer(command.env("OMP_NUM_THREADS", b.threads.to_string()))
}

/// The last line that a command says, as JSON.
fn answer(command: &mut Command) -> Result<Answer, String> {
    let output = command.output().map_err(|e| format!("{}: {e}", command.get_program().display()))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.lines().last().unwrap_or_default();
    serde_json::from_str(last).map_err(|e| format!("{command:?} said {last}: {e}"))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    if n.is_multiple_of(2) { (values[n / 2 - 1] + values[n / 2]) / 2.0 } else { values[n / 2] }
}

/// The processor's name, where the system says it.
fn processor() -> String {
    let said = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = said.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(':')).map_or("this machine".into(), |(_, name)| name.trim().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_complete_and_medians_are_medians() {
        assert_eq!(rows().len(), 22);
        assert_eq!((median(vec![3.0, 1.0, 2.0]), median(vec![4.0, 1.0])), (2.0, 2.5));
    }
}
