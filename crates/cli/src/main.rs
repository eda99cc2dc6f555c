//! The `headstart` command: arguments in, exit code out.  0 done, 1 the answer is "no", 2 the request or the data was
//! wrong, 3 we failed.

mod args;
mod output;
mod progress;
mod verbs;

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use clap::Parser;

use crate::args::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .init();
    quiet_contained_panics();
    match panic::catch_unwind(AssertUnwindSafe(|| verbs::run(&cli))) {
        Ok(Ok(code)) => ExitCode::from(code),
        Ok(Err(e)) => {
            output::error(&e, cli.global.json);
            ExitCode::from(e.exit_code())
        }
        Err(panic) => {
            if let Some(what) = QUIETED.lock().unwrap_or_else(PoisonError::into_inner).take() {
                eprintln!("{what}");
            }
            panic::resume_unwind(panic)
        }
    }
}

/// What a shell says of a program that a broken pipe ended.
const CODE_OF_BROKEN_PIPE: i32 = 141;

/// What the last panic in other people's code said; it is told if nobody contained it.
static QUIETED: Mutex<Option<String>> = Mutex::new(None);

/// Decoders of other people's making are run behind `catch_unwind` and may panic on hostile files, which is reported as
/// an error of that file.  Only a panic of ours deserves the default message at once.
fn quiet_contained_panics() {
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        // Whoever read what we print has read enough, as `head` has.
        if info
            .payload_as_str()
            .is_some_and(|said| said.starts_with("failed printing to stdout: Broken pipe"))
        {
            std::process::exit(CODE_OF_BROKEN_PIPE);
        }
        let ours = info.location().is_none_or(|l| !l.file().contains("registry"));
        if ours {
            default(info);
        } else {
            *QUIETED.lock().unwrap_or_else(PoisonError::into_inner) = Some(info.to_string());
        }
    }));
}
