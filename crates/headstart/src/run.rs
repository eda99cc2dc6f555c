//! The run folder: what a fit leaves behind, every file by rename.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use serde::Serialize;

use crate::Error;
use crate::by_rename::{TEMPORARY, write};

/// A run's folder while the run goes on.
pub(crate) struct Run {
    pub(crate) dir: PathBuf,
    /// Whether the folder was made for it.
    is_new: bool,
    start: Instant,
    events: Mutex<Vec<String>>,
}

/// One line of `events.jsonl`.
#[derive(Serialize)]
struct Event<'a, T: Serialize> {
    seconds: f64,
    event: &'a str,
    #[serde(flatten)]
    facts: T,
}

impl Run {
    /// Makes or reuses the folder.  A folder that holds something else than a run is refused: nothing gets lost.
    pub(crate) fn create(dir: &Path) -> Result<Self, Error> {
        let left = left_over(dir).and_then(|a| Ok([a, left_over(&dir.join("checkpoints"))?].concat()));
        let left = left.map_err(Error::io(dir))?;
        let foreign = dir.is_dir()
            && !dir.join("plan.toml").exists()
            && fs::read_dir(dir).map_err(Error::io(dir))?.flatten().any(|e| !left.contains(&e.path()));
        if foreign || dir.is_file() {
            return Err(Error::request(
                format!("{} exists and is not the folder of a run", dir.display()),
                "choose another folder with --out",
            ));
        }
        let is_new = !dir.exists();
        fs::create_dir_all(dir).map_err(Error::io(dir))?;
        for path in left {
            // Losing a race against another run of the same folder is no error; neither is a file that stays.
            let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
        Ok(Run { dir: dir.into(), is_new, start: Instant::now(), events: Mutex::default() })
    }

    /// Seconds since the run began.
    pub(crate) fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Adds a line to `events.jsonl`.
    pub(crate) fn event(&self, event: &str, facts: impl Serialize) -> Result<(), Error> {
        let seconds = (self.seconds() * 1000.0).round() / 1000.0;
        let line = serde_json::to_string(&Event { seconds, event, facts })
            .expect("events are plain structs with string keys");
        let mut lines = self.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        lines.push(line);
        write(&self.dir.join("events.jsonl"), (lines.join("\n") + "\n").as_bytes())
    }

    /// Writes a file of the run.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        write(&self.dir.join(name), bytes)
    }
}

impl Drop for Run {
    /// A run that failed before it had anything to say leaves no folder.
    fn drop(&mut self) {
        if self.is_new {
            // One that holds something is not removed.
            let _ = fs::remove_dir(&self.dir);
        }
    }
}

/// What a killed run was just writing: files and folders that were not renamed any more, by the exact form of their names.
fn left_over(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let is_temporary = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        let drawn = name.and_then(|name| name.strip_prefix(TEMPORARY));
        drawn.is_some_and(|drawn| drawn.len() == 6 && drawn.bytes().all(|b| b.is_ascii_alphanumeric()))
    };
    Ok(fs::read_dir(dir)?.flatten().map(|e| e.path()).filter(is_temporary).collect())
}

/// Processor time of this process and its threads so far, in steps of 10 ms; none where the system does not say.
pub(crate) fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold anything; user and system time are the 12th and 13th field after it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}

/// The most memory this process has held, MiB; none where the system does not say.
pub(crate) fn peak_mb() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some((kib / 1024.0 * 10.0).round() / 10.0)
}
