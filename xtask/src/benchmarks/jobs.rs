//! Whole jobs, from the start of the process to the sealed bundle, beside what a script of PyTorch, transformers and
//! scikit-learn takes for the same.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde::Deserialize;

use super::{Bench, add, answer, median};

/// One row of the page.
struct Job {
    name: &'static str,
    /// In the folder of tables.
    table: &'static str,
    source: &'static str,
    /// What `headstart fit` is told besides.
    fit: &'static [&'static str],
    /// Of products: `f32`, or `bf16` for both sides.
    precision: &'static str,
    /// Whether features are still in the cache from a run before.
    warm: bool,
    /// The peer's job, and what stands behind the table.
    peer: &'static str,
    numbers: &'static [&'static str],
    /// The least ratio that the project asks of itself.
    asked: f64,
}

const TUNED_SIGNS: [&str; 6] = ["--test-fraction", "0.5", "--recipe", "full", "--set", "passes=6"];
const TUNED_TREC: [&str; 4] = ["--recipe", "full", "--set", "passes=4"];
const TUNED_SST2: [&str; 4] = ["--recipe", "full", "--set", "passes=3"];

fn all() -> Vec<Job> {
    let mut jobs = Vec::new();
    for (table, fit) in
        [("hymenoptera/labels.csv", &[] as &[&str]), ("sign_digits/labels.csv", &["--test-fraction", "0.5"])]
    {
        let job = |name, warm, numbers, asked| Job {
            name,
            table,
            source: "efficientnet-lite0",
            fit,
            precision: "f32",
            warm,
            peer: "probe-pictures",
            numbers,
            asked,
        };
        jobs.push(job("probe, cold cache, beside features and scikit-learn", false, &[], 1.5));
        jobs.push(job("probe, cold cache, beside a tutorial of 10 passes", false, &["10"], 8.0));
        jobs.push(job("probe, warm cache, beside the tutorial", true, &["10"], 50.0));
    }
    for (table, fit) in [("trec.csv", &[] as &[&str]), ("sms_spam.csv", &["--test-fraction", "0.5"])] {
        jobs.push(Job {
            name: "probe, cold cache",
            table,
            source: "minilm-l6",
            fit,
            precision: "f32",
            warm: false,
            peer: "probe-texts",
            numbers: &[],
            asked: 1.5,
        });
    }
    let mut tuned = |table, source, fit, peer, numbers| {
        let in_bf16 = "full fine-tuning in bf16, beside autocast to bf16";
        for (name, precision) in [("full fine-tuning", "f32"), (in_bf16, "bf16")] {
            jobs.push(Job { name, table, source, fit, precision, warm: false, peer, numbers, asked: 1.5 });
        }
    };
    tuned("sign_digits/labels.csv", "efficientnet-lite0", &TUNED_SIGNS, "tune-pictures", &["6"]);
    tuned("trec.csv", "minilm-l6", &TUNED_TREC, "tune-texts", &["4", "5e-5"]);
    tuned("sst2.csv", "minilm-l6", &TUNED_SST2, "tune-texts", &["3", "3e-5"]);
    jobs
}

/// What `headstart fit --json` says, as far as it is compared.
#[derive(Deserialize)]
struct Own {
    test: f64,
    peak_mb: f64,
    cpu_seconds: f64,
}

/// What a peer says.
#[derive(Deserialize)]
struct Peer {
    accuracy: f64,
    peak_mb: f64,
}

/// One run: seconds of the whole process, accuracy on the test, memory, processor seconds if they are known.
type Measured = [f64; 4];

/// Runs the rows that are wanted and whose table is there.
pub(super) fn rows(bench: &Bench<'_>, data: &Path, page: &mut String) -> Result<(), String> {
    let jobs: Vec<(String, Job)> =
        all().into_iter().map(|job| (format!("{}, {}", job.table, job.name), job)).collect();
    let head = "## Whole jobs\n\nFrom the start of the process to its end, the rival from random weights declined; seconds, and accuracy \
                on the test; *cores* are those that Headstart kept busy on average.\n\n\
                | job | Headstart, s | peer, s | ratio | asked | accuracy, Headstart / peer | memory | cores |\n\
                |---|---|---|---|---|---|---|---|";
    add(page, head)?;
    let scratch = std::env::temp_dir().join(format!("headstart-benchmarks-{}", std::process::id()));
    for (name, job) in jobs.into_iter().filter(|(name, _)| bench.wants(name)) {
        let table = data.join(job.table);
        if !table.exists() {
            println!("left out: there is no {}", table.display());
            continue;
        }
        let cache = scratch.join("cache");
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        // No round should pay for fetching the source; features are in the cache after a run.
        if job.warm {
            own(bench, &job, &table, &scratch)?;
        } else {
            let mut command = bench.headstart();
            command.args(["inspect", job.source]).arg("--cache").arg(&cache);
            answer::<serde::de::IgnoredAny>(&mut command)?;
        }
        for _ in 0..bench.asked.rounds {
            if !job.warm {
                remove(&cache.join("features"))?;
            }
            ours.push(own(bench, &job, &table, &scratch)?);
            let mut command = bench.peer("jobs.py");
            command.arg(job.peer).arg(&table).args(job.numbers);
            if job.precision == "bf16" {
                command.arg(job.precision);
            }
            theirs.push(timed(&mut command, |p: Peer| [p.accuracy, p.peak_mb, f64::NAN])?);
        }
        let of = |all: &[Measured], i: usize| median(all.iter().map(|m| m[i]));
        let ratio = |i: usize| median(ours.iter().zip(&theirs).map(|(o, t)| t[i] / o[i]));
        let line = format!(
            "| {name} | {:.2} | {:.2} | **{:.2}** | {:.1} | {:.3} / {:.3} | {:.2} | {:.1} |",
            of(&ours, 0),
            of(&theirs, 0),
            ratio(0),
            job.asked,
            of(&ours, 1),
            of(&theirs, 1),
            1.0 / ratio(2),
            median(ours.iter().map(|m| m[3] / m[0]))
        );
        add(page, &line)?;
    }
    remove(&scratch)?;
    add(page, "")
}

fn own(bench: &Bench<'_>, job: &Job, table: &Path, scratch: &Path) -> Result<Measured, String> {
    let out = scratch.join("run");
    remove(&out)?;
    let mut command = bench.headstart();
    command.arg("fit").arg(table).args(["--source", job.source, "--baseline-budget", "0"]).args(job.fit);
    command.args(["--precision", job.precision]);
    command.arg("--cache").arg(scratch.join("cache")).arg("--out").arg(out);
    timed(&mut command, |o: Own| [o.test, o.peak_mb, o.cpu_seconds])
}

fn timed<T: serde::de::DeserializeOwned>(
    command: &mut Command,
    read: impl Fn(T) -> [f64; 3],
) -> Result<Measured, String> {
    let start = Instant::now();
    let [accuracy, peak_mb, cpu] = read(answer(command)?);
    Ok([start.elapsed().as_secs_f64(), accuracy, peak_mb, cpu])
}

fn remove(dir: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {e}", dir.display())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_have_a_peer_that_the_script_knows() {
        let script = include_str!("jobs.py");
        assert_eq!(all().len(), 14);
        assert!(all().iter().all(|job| script.contains(job.peer)));
    }
}
