//! House rules that no compiler checks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_path_buf()
}

fn crates() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(root().join("crates"))
        .expect("the workspace has crates")
        .map(|e| e.expect("readable").file_name().into_string().expect("names are UTF-8"))
        .collect();
    names.sort();
    names
}

/// Every text file that git would track, by path from the root.
fn sources(extensions: &[&str]) -> Vec<(String, String)> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        let skip = ["target", ".git", "node_modules"];
        for entry in fs::read_dir(dir).expect("readable").map(|e| e.expect("readable").path()) {
            let name = entry.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if skip.contains(&name) {
                continue;
            }
            if entry.is_dir() { walk(&entry, out) } else { out.push(entry) }
        }
    }
    let mut paths = Vec::new();
    walk(&root(), &mut paths);
    paths.sort();
    paths
        .into_iter()
        .filter(|p| p.extension().and_then(|e| e.to_str()).is_some_and(|e| extensions.contains(&e)))
        .map(|p| {
            let text = fs::read_to_string(&p).unwrap_or_else(|e| panic!("{}: {e}", p.display()));
            (p.strip_prefix(root()).expect("below the root").display().to_string(), text)
        })
        .collect()
}

#[test]
fn architecture_names_every_crate() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    for name in crates() {
        assert!(page.contains(&format!("`{name}`")), "ARCHITECTURE.md does not name `{name}`");
    }
}

#[test]
fn every_file_says_first_what_it_is() {
    for (path, text) in sources(&["rs"]) {
        let first = text.lines().next().unwrap_or_default();
        assert!(first.starts_with("//!"), "{path} begins with `{first}`");
    }
}

#[test]
fn files_can_be_read_in_one_sitting() {
    for (path, text) in sources(&["rs"]) {
        let lines = text.lines().count();
        assert!(lines <= 600, "{path} has {lines} lines");
    }
}

/// contract ← engine ← stages ← facade and apps: a stage never imports a sibling stage.
#[test]
fn crates_depend_in_one_direction_only() {
    let ring = |name: &str| match name {
        "graph" | "core" => 0,
        "kernels" | "engine" => 1,
        "headstart" => 3,
        "cli" | "serve" | "python" => 4,
        _ => 2,
    };
    let mut edges: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in crates() {
        let manifest =
            fs::read_to_string(root().join("crates").join(&name).join("Cargo.toml")).expect("manifest");
        let manifest: toml::Table = manifest.parse().expect("a manifest is TOML");
        let dependencies =
            manifest.get("dependencies").and_then(|d| d.as_table()).cloned().unwrap_or_default();
        for dependency in dependencies.keys() {
            let short = dependency.strip_prefix("headstart-").unwrap_or(dependency);
            if crates().iter().any(|c| c == short) {
                edges.entry(name.clone()).or_default().push(short.into());
            }
        }
    }
    for (from, to) in edges.iter().flat_map(|(f, ts)| ts.iter().map(move |t| (f, t))) {
        // Within the two inner rings a crate may use its neighbour; `check` for cycles is the compiler's.
        let allowed = ring(to) < ring(from) || (ring(from) == ring(to) && ring(from) <= 1);
        assert!(allowed, "`{from}` may not depend on `{to}`");
    }
}

#[test]
fn nothing_names_a_machine_or_promises_work() {
    let dirs = ["work", "root", "farm"].map(|d| format!("/{d}/"));
    let words = ["todo", "unimplemented"].map(|w| format!("{w}!("));
    for (path, text) in sources(&["rs", "toml", "md", "py", "sh", "yml"]) {
        for (i, line) in text.lines().enumerate() {
            for banned in dirs.iter().chain(&words) {
                assert!(!line.contains(banned.as_str()), "{path}:{}: `{banned}`", i + 1);
            }
        }
    }
}

/// Crates with the features that they are built with.
fn built_with(args: &[&str]) -> BTreeSet<String> {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root()).args(["tree", "--locked", "--prefix", "none", "--format", "{p} with {f}"]);
    let answer = command.args(args).output().expect("cargo runs");
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    let lines = String::from_utf8(answer.stdout).expect("names are UTF-8");
    lines.lines().map(|line| line.trim_end_matches(" (*)").into()).collect()
}

/// What the programs and the tests stand on is built once: with other features it would be built again, and Burn takes minutes.
#[test]
fn programs_and_tests_share_what_they_stand_on() {
    let tests = built_with(&["--workspace", "--edges", "normal,build,dev"]);
    for program in ["headstart-cli", "xtask"] {
        let needs = built_with(&["--package", program, "--edges", "normal,build"]);
        assert!(needs.iter().any(|name| name.starts_with("burn-flex ")), "{program} stands on Burn");
        let others: Vec<_> = needs.difference(&tests).collect();
        assert!(
            others.is_empty(),
            "{program} has features that the tests have not, or lacks some: {others:?}"
        );
    }
}
