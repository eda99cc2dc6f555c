//! `npm:`: packages, through the user's own `npm pack`.  No script of the package is run.

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::Path,
};

use crate::{
    archive::{Wanted, read_tgz},
    cache::WorkDir,
    error::{SourceError, at},
    fetch::{Came, Expect, FetchEvent, FetcherOptions, unpack},
    process::{Outcome, Program, run},
    spec::{Origin, Spec},
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
    // Always with a version, since npm takes some bare names for local files.
    let package = format!("{}@{}", spec.name(), spec.version().unwrap_or("latest"));
    let args: [OsString; 3] = ["pack".into(), "--ignore-scripts".into(), package.into()];
    let more_args: [OsString; 3] =
        ["--no-update-notifier".into(), "--pack-destination".into(), into.clone().into()];
    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    let program = Program {
        origin: Origin::Npm,
        name: "npm",
        candidates: vec![vec![options.npm.as_ref().map_or_else(|| npm.into(), Into::into)]],
        args: args.into(),
        more_args: more_args.into(),
        watched: &into,
        env: Vec::new(),
        timeout: options.process_timeout,
    };
    progress(FetchEvent::Started { what: spec.to_string(), total: None });
    let outcome = run(&program, progress)?;
    if !outcome.status.success() {
        return Err(not_found(spec, &outcome).unwrap_or_else(|| outcome.failed(&options.cache_dir)));
    }

    let mut paths = Vec::new();
    for entry in fs::read_dir(&into).map_err(at("read", &into))? {
        paths.push(entry.map_err(at("read", &into))?.path());
    }
    let [tgz] = paths.as_slice() else {
        return Err(outcome.unexpected(format!("left {} files instead of one tar file", paths.len())));
    };
    if tgz.extension() != Some(OsStr::new("tgz")) {
        return Err(outcome.unexpected(format!("left `{}`, which is no `.tgz`", tgz.display())));
    }
    let bytes = fs::metadata(tgz).map_err(at("read", tgz))?.len();
    progress(FetchEvent::Bytes { done: bytes, total: Some(bytes) });
    let sha256 = sha256_file(tgz)?;
    expect.check(Some(&sha256), bytes)?;
    let version = version_of(spec, tgz, &work, options, &outcome)?;
    let came = unpack(spec, version, work, tgz, sha256, |wanted| read_tgz(tgz, wanted, &options.limits))?;
    progress(FetchEvent::Done);
    Ok(came)
}

/// The version, from the file's name (`scope-name-VERSION.tgz`), checked like a typed one when it is used.
fn version_of(
    spec: &Spec,
    tgz: &Path,
    work: &WorkDir,
    options: &FetcherOptions,
    outcome: &Outcome,
) -> Result<String, SourceError> {
    let stem = tgz.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let flat = spec.name().trim_start_matches('@').replace('/', "-");
    if let Some(version) = stem.strip_prefix(&format!("{flat}-")) {
        return Ok(version.to_owned());
    }
    // A client with other habits: ask the package itself.
    let to = work.path().join("package.json");
    read_tgz(tgz, Wanted::One { path: "package.json", to: &to }, &options.limits)?;
    let json = fs::read(&to).map_err(at("read", &to))?;
    serde_json::from_slice::<serde_json::Value>(&json)
        .ok()
        .and_then(|json| Some(json.get("version")?.as_str()?.to_owned()))
        .ok_or_else(|| outcome.unexpected(format!("left `{stem}.tgz`, which says no version")))
}

fn not_found(spec: &Spec, outcome: &Outcome) -> Option<SourceError> {
    let says = |text: &str| outcome.stderr_tail.iter().any(|line| line.contains(text));
    let reason = match () {
        _ if says("code ETARGET") => "npm knows the package, but not this version",
        _ if says("code E404") => "npm knows no such package",
        _ => return None,
    };
    let reason = reason.to_owned();
    Some(SourceError::NotFound { spec: spec.to_string(), origin: Origin::Npm, reason, versions: Vec::new() })
}
