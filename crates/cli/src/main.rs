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
use libmimalloc_sys::{mi_option_set, mi_option_t};

use crate::args::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` in mimalloc's table.
const PURGE_DELAY: mi_option_t = 15;

fn main() -> ExitCode {
    keep_freed_memory();
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

/// What the last panic in other people's code said; it is told if nobody contained it.
static QUIETED: Mutex<Option<String>> = Mutex::new(None);

/// A step of training frees and takes the same hundreds of megabytes again and again.  Giving them back to the system, which
/// clears every page anew, costs a tenth to a third of a step; the most that was ever in use stays the same.
fn keep_freed_memory() {
    // SAFETY: sets a number in mimalloc's table, before any other thread is there.
    unsafe { mi_option_set(PURGE_DELAY, -1) };
}

/// Decoders of other people's making are run behind `catch_unwind` and may panic on hostile files, which is reported as
/// an error of that file.  Only a panic of ours deserves the default message at once.
fn quiet_contained_panics() {
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let ours = info.location().is_none_or(|l| !l.file().contains("registry"));
        if ours {
            default(info);
        } else {
            *QUIETED.lock().unwrap_or_else(PoisonError::into_inner) = Some(info.to_string());
        }
    }));
}
