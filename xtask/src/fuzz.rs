//! `cargo xtask fuzz`: libFuzzer on every reader, from the committed seeds, for a bounded time.
//!
//! The targets lie in `fuzz/` as cargo-fuzz wants them, and `cargo fuzz run` works there.  This chore needs neither it nor a
//! nightly compiler: the counters that libFuzzer steers by are switched on by flags that every compiler has, and without
//! the address sanitizer, which finds little in code without `unsafe`.  Memory is bounded by the targets' own allocator.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// libFuzzer's counters: one byte an edge, and operands of comparisons.
const FLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
];
/// Longest input, bytes.
const INPUT_BYTES_MAX: usize = 1 << 16;
/// Longest time that one input may take, seconds.  A picture of 150 million pixels is honest, and readers are built half optimised.
const TIMEOUT_SECONDS: u64 = 60;
/// Most memory of the process, the fuzzer's own included.
const RSS_MB_MAX: usize = 4096;

/// Builds and runs targets; all if none is named.
pub fn run(targets: &[String], seconds: u64) -> ExitCode {
    match all(targets, seconds) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(what) => {
            eprintln!("error: {what}");
            ExitCode::from(3)
        }
    }
}

/// Whether nothing was found.
fn all(targets: &[String], seconds: u64) -> Result<bool, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace");
    let known = names(&root.join("fuzz/fuzz_targets")).map_err(|e| format!("fuzz/fuzz_targets: {e}"))?;
    if let Some(unknown) = targets.iter().find(|t| !known.contains(t)) {
        return Err(format!("there is no target `{unknown}` ({})", known.join(", ")));
    }
    let start = Instant::now();
    let built = build(root)?;
    println!("built in {} s", start.elapsed().as_secs());
    let chosen = if targets.is_empty() { &known } else { targets };
    Ok(in_turn(chosen, &|target| match one(root, &built, target, seconds) {
        Ok(line) => {
            println!("{target:<12} {line}");
            true
        }
        Err(what) => {
            println!("{target:<12} FOUND\n{what}");
            false
        }
    }))
}

/// Runs every target, one on each processor at a time; whether nothing was found.
fn in_turn(targets: &[String], run: &(dyn Fn(&str) -> bool + Sync)) -> bool {
    let (next, ok) = (AtomicUsize::new(0), AtomicBool::new(true));
    let n = std::thread::available_parallelism().map_or(1, usize::from).min(targets.len());
    std::thread::scope(|scope| {
        for _ in 0..n {
            scope.spawn(|| {
                while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !run(target) {
                        ok.store(false, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    ok.into_inner()
}

fn names(dir: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.extend(entry?.path().file_stem().map(|n| n.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// Builds all targets; the folder of the programs.
fn build(root: &Path) -> Result<PathBuf, String> {
    let version = Command::new("rustc").arg("-vV").output().map_err(|e| format!("rustc: {e}"))?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let host = version.lines().find_map(|l| l.strip_prefix("host: ")).ok_or("rustc does not say its host")?;
    let target_dir = root.join("fuzz/target");
    // With a target named, build scripts and macros are built without the counters.
    let status = crate::cargo()
        .args(["build", "--release", "--bins", "--target", host, "--manifest-path"])
        .arg(root.join("fuzz/Cargo.toml"))
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"))
        .env("CARGO_TARGET_DIR", &target_dir)
        .status()
        .map_err(|e| format!("cargo: {e}"))?;
    if !status.success() {
        return Err(format!("the targets do not build ({status})"));
    }
    Ok(target_dir.join(host).join("release"))
}

/// Files that a target starts from, besides its own folder of seeds.
fn shared_seeds(target: &str) -> &'static [&'static str] {
    match target {
        "safetensors" | "pytorch" | "keras" => &["crates/formats/tests/fixtures"],
        "onnx" => &["crates/formats/tests/onnx"],
        _ => &[],
    }
}

/// Runs one target; a line of what was done, or what it found.
fn one(root: &Path, built: &Path, target: &str, seconds: u64) -> Result<String, String> {
    let corpus = root.join("fuzz/corpus").join(target);
    let artifacts = root.join("fuzz/artifacts").join(target);
    for dir in [&corpus, &artifacts] {
        fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    }
    let seeds = [format!("fuzz/seeds/{target}")];
    let seeds = seeds.iter().map(String::as_str).chain(shared_seeds(target).iter().copied());
    let mut child = Command::new(built.join(target))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-timeout={TIMEOUT_SECONDS}"))
        .arg(format!("-rss_limit_mb={RSS_MB_MAX}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        // What is new is kept in the first folder.
        .arg(&corpus)
        .args(seeds.map(|dir| root.join(dir)).filter(|dir| dir.is_dir()))
        .current_dir(root)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("{}: {e}", built.join(target).display()))?;
    let mut said = Vec::new();
    if let Some(stderr) = &mut child.stderr {
        stderr.read_to_end(&mut said).map_err(|e| e.to_string())?;
    }
    let status = child.wait().map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().collect();
    if status.success() {
        let done = lines.iter().rev().find(|l| l.starts_with("Done ")).copied().unwrap_or("done");
        let covered = lines.iter().rev().find_map(|l| l.split("cov: ").nth(1)?.split(' ').next());
        return Ok(format!("{done}, {} edges", covered.unwrap_or("?")));
    }
    Err(lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n"))
}

/// Lines of a finding that are shown.
const LINES_SHOWN: usize = 60;
