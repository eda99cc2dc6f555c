//! Runs the user's own `pip` or `npm`: no shell, no input, an end in time, and its last words in the error.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    error::{SourceError, at},
    fetch::FetchEvent,
    spec::Origin,
};

const TAIL_LINES: usize = 10;
const TAIL_BYTES: u64 = 16 << 10;

/// A program and how to find it.
pub(crate) struct Program<'a> {
    pub(crate) origin: Origin,
    /// Its usual name.
    pub(crate) name: &'static str,
    /// Commands to try, each with its first arguments, until one can be started.
    pub(crate) candidates: Vec<Vec<OsString>>,
    /// The arguments that matter, which errors show.
    pub(crate) args: Vec<OsString>,
    /// Those that only say where and how quietly.
    pub(crate) more_args: Vec<OsString>,
    /// A folder that it downloads into; its growth is reported.
    pub(crate) watched: &'a Path,
    /// Extra environment variables.
    pub(crate) env: Vec<(&'static str, &'a Path)>,
    pub(crate) timeout: Duration,
}

/// What a program did.
pub(crate) struct Outcome {
    /// The command, as one could type it.
    pub(crate) command: String,
    pub(crate) status: ExitStatus,
    pub(crate) stderr_tail: Vec<String>,
}

impl Outcome {
    /// The error for a program that failed for no reason that its origin knows better.
    pub(crate) fn failed(self, cache_dir: &Path) -> SourceError {
        let Self { command, status, stderr_tail } = self;
        let full = |line: &String| line.contains("No space left on device") || line.contains("ENOSPC");
        if stderr_tail.iter().any(full) {
            return at("write below", cache_dir)(io::ErrorKind::StorageFull.into());
        }
        SourceError::ProgramFailed { command, status: status.to_string(), stderr_tail }
    }

    pub(crate) fn unexpected(&self, reason: impl Into<String>) -> SourceError {
        SourceError::UnexpectedOutput { command: self.command.clone(), reason: reason.into() }
    }
}

/// Runs a program to its end.  Its errors go to a file, since a pipe would be held open by whatever the program
/// leaves running; and to one in the system's temporary folder, since the cache's disk may be what is full.
pub(crate) fn run(
    program: &Program<'_>,
    progress: &(dyn Fn(FetchEvent) + Sync),
) -> Result<Outcome, SourceError> {
    let mut tried = Vec::new();
    for candidate in &program.candidates {
        let Some((file, first_args)) = candidate.split_first() else { continue };
        let tmp = std::env::temp_dir();
        let log = tempfile::tempfile().map_err(at("create a file in", &tmp))?;
        let stderr = log.try_clone().map_err(at("create a file in", &tmp))?;
        let mut command = Command::new(file);
        command
            .args(first_args)
            .args(&program.args)
            .args(&program.more_args)
            .envs(program.env.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);

        let shown = shown([file].into_iter().chain(first_args).chain(&program.args));
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) =>
            {
                tried.push(format!("{} ({error})", candidate_shown(candidate)));
                continue;
            }
            Err(error) => return Err(at("start", Path::new(file))(error)),
        };
        let status = wait(child, program, progress).map_err(at("wait for", Path::new(file)))?;
        let stderr_tail = tail(log).map_err(at("read a file in", &tmp))?;
        let Some(status) = status else {
            return Err(SourceError::ProgramTimeout { command: shown, limit: program.timeout, stderr_tail });
        };
        // How wrappers such as pyenv, and Python itself, say that there is no such program or module.
        let absent = status.code() == Some(127)
            || stderr_tail.iter().any(|line| line.ends_with("No module named pip"));
        if absent {
            tried.push(format!("{} (not installed)", candidate_shown(candidate)));
            continue;
        }
        return Ok(Outcome { command: shown, status, stderr_tail });
    }
    Err(SourceError::ProgramMissing { origin: program.origin, program: program.name, tried })
}

/// Waits, reporting growth; none when the time was up, and the program is stopped then.
fn wait(
    mut child: Child,
    program: &Program<'_>,
    progress: &(dyn Fn(FetchEvent) + Sync),
) -> io::Result<Option<ExitStatus>> {
    let begin = Instant::now();
    let mut pause = Duration::from_millis(2);
    let mut reported = 0;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begin.elapsed() > program.timeout {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
        let done = size_below(program.watched, 4);
        if done > reported {
            reported = done;
            progress(FetchEvent::Bytes { done, total: None });
        }
    }
}

/// The bytes below a folder in which another process is busy, so files may vanish meanwhile.
fn size_below(folder: &Path, depth: usize) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?, entry.path())))
        .map(|(metadata, path)| match metadata.is_dir() {
            true if depth > 0 => size_below(&path, depth - 1),
            true => 0,
            false => metadata.len(),
        })
        .sum()
}

/// The last lines of a file, without what a terminal would obey.
fn tail(mut file: File) -> io::Result<Vec<String>> {
    let mut bytes = Vec::new();
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(TAIL_BYTES)))?;
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.chars().filter(|c| !c.is_control()).collect::<String>().trim_end().to_owned())
        .filter(|line| !line.is_empty())
        .collect();
    Ok(lines[lines.len().saturating_sub(TAIL_LINES)..].to_vec())
}

fn candidate_shown(candidate: &[OsString]) -> String {
    shown(candidate.iter())
}

/// A command as one could type it.
fn shown<'a>(words: impl Iterator<Item = &'a OsString>) -> String {
    words.map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@+,".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.into_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_next_candidate_is_tried_when_the_first_is_absent() {
        let folder = tempfile::tempdir().unwrap();
        let program = |candidates: &[&[&str]]| Program {
            origin: Origin::PyPi,
            name: "pip",
            candidates: candidates.iter().map(|words| words.iter().map(Into::into).collect()).collect(),
            args: vec!["echo \"$0\" 'a b' >&2; exit 3".into(), "it's".into()],
            more_args: Vec::new(),
            watched: folder.path(),
            env: Vec::new(),
            timeout: Duration::from_secs(20),
        };
        let absent: &[&str] = &["/nonexistent/pip"];
        let shim: &[&str] = &["/bin/sh", "-c", "echo 'pip: command not found' >&2; exit 127"];
        let python: &[&str] = &["/bin/sh", "-c", "echo '/usr/bin/python3: No module named pip' >&2; exit 1"];
        let real: &[&str] = &["/bin/sh", "-c"];
        let outcome = run(&program(&[absent, shim, python, real]), &|_| {}).unwrap();
        assert_eq!(outcome.status.code(), Some(3));
        assert_eq!(outcome.stderr_tail, ["it's a b"]);
        assert!(outcome.command.ends_with(r"'it'\''s'"), "{}", outcome.command);

        let error = run(&program(&[absent, shim]), &|_| {}).err().unwrap();
        let SourceError::ProgramMissing { tried, .. } = error else { panic!("{error}") };
        assert_eq!(tried.len(), 2);
    }
}
