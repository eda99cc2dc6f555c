//! The `headstart` command: arguments in, exit code out.  0 done, 1 the answer is "no", 2 the request or the data was
//! wrong, 3 we failed.

mod args;
mod output;
mod progress;
mod verbs;

use std::panic;
use std::process::ExitCode;

use clap::Parser;
use headstart_kernels::memory::Keeping;

use crate::args::Cli;

#[global_allocator]
static ALLOCATOR: Keeping<mimalloc::MiMalloc> = Keeping::new(mimalloc::MiMalloc);

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .init();
    quiet_contained_panics();
    match verbs::run(&cli) {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            output::error(&e, cli.global.json);
            ExitCode::from(e.exit_code())
        }
    }
}

/// Decoders of other people's making are run behind `catch_unwind` and may panic on hostile files, which is reported as
/// an error of that file.  Only a panic of ours deserves the default message.
fn quiet_contained_panics() {
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let ours = info.location().is_none_or(|l| !l.file().contains("registry"));
        if ours {
            default(info);
        }
    }));
}
