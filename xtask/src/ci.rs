//! `cargo xtask ci`: what CI runs, step by step, and what a contributor runs before a commit.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

/// The version that `deny.toml` is written for.
const CARGO_DENY: &str = "0.20.2";

/// For every reader of files.
const FUZZ_SECONDS: &str = "10";

/// Runs every check; stops at the first that fails.
pub fn run() -> ExitCode {
    let start = Instant::now();
    let deny = deny_binary();
    let steps: Vec<(&str, Command)> = vec![
        ("formatting", cargo(&["fmt", "--all", "--check"])),
        (
            "clippy",
            cargo(&["clippy", "--release", "--workspace", "--all-targets", "--", "--deny", "warnings"]),
        ),
        ("documentation", {
            let mut c = cargo(&["doc", "--release", "--workspace", "--no-deps", "--quiet"]);
            c.env("RUSTDOCFLAGS", "--deny warnings");
            c
        }),
        ("tests", cargo(&["test", "--release", "--workspace", "--no-fail-fast"])),
        ("speed", {
            let mut c = itself("speed");
            c.arg("--headstart").arg(target().join("release").join("headstart"));
            c
        }),
        ("fuzzing", {
            let mut c = itself("fuzz");
            c.args(["--seconds", FUZZ_SECONDS]);
            c
        }),
    ];
    for (name, mut command) in steps {
        if let Err(code) = step(name, &mut command) {
            return code;
        }
    }
    if !deny.exists()
        && let Err(code) = step(
            "installing cargo-deny",
            cargo(&["install", "cargo-deny", "--version", CARGO_DENY, "--locked", "--root"])
                .arg(deny.parent().and_then(Path::parent).expect("the binary lies in ROOT/bin")),
        )
    {
        return code;
    }
    // The advisory database lives on a host that offline builds cannot reach; the other checks need only the lock file.
    let mut check = Command::new(&deny);
    check.args(["--workspace", "check", "bans", "licenses", "sources"]);
    if let Err(code) = step("dependencies (cargo deny)", &mut check) {
        return code;
    }
    println!("all checks passed in {} s", start.elapsed().as_secs());
    ExitCode::SUCCESS
}

fn cargo(args: &[&str]) -> Command {
    let mut command = crate::cargo();
    command.args(args);
    command
}

/// Another chore of this program, by the path it was started with: the file there may be a newer one by now, which the tests
/// built.
fn itself(chore: &str) -> Command {
    let mut command = std::env::args_os().next().map_or_else(|| cargo(&["xtask"]), Command::new);
    command.arg(chore);
    command
}

fn step(name: &str, command: &mut Command) -> Result<(), ExitCode> {
    println!("── {name}");
    let start = Instant::now();
    match command.status() {
        Ok(status) if status.success() => {
            println!("── {name}: passed in {} s", start.elapsed().as_secs());
            Ok(())
        }
        Ok(status) => {
            println!("── {name}: FAILED ({status})");
            Err(ExitCode::from(1))
        }
        Err(e) => {
            println!("── {name}: could not start {command:?}: {e}");
            Err(ExitCode::from(3))
        }
    }
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from)
}

fn deny_binary() -> PathBuf {
    target().join("tools").join("bin").join(format!("cargo-deny{}", std::env::consts::EXE_SUFFIX))
}
