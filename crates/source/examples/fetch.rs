//! Fetches sources from their real origins: `cargo run --example fetch -- CACHE SPEC…`, `OFFLINE=1` to stay at home.

use std::{process::ExitCode, time::Instant};

use headstart_source::{FetchEvent, Fetcher, FetcherOptions, HubOptions, Spec};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(cache) = args.next() else {
        eprintln!("usage: fetch CACHE SPEC…");
        return ExitCode::from(2);
    };
    let offline = std::env::var_os("OFFLINE").is_some();
    let hub = HubOptions::from_vars(|name| std::env::var(name).ok());
    let fetcher = Fetcher::new(FetcherOptions { offline, hub, ..FetcherOptions::new(cache) });
    for text in args {
        let begin = Instant::now();
        let show = |event: FetchEvent| eprintln!("  {event:?}");
        match Spec::parse(&text).and_then(|spec| fetcher.fetch(&spec, None, &show)) {
            Ok(fetched) => println!("{text}: {:.2} s\n  {fetched:#?}", begin.elapsed().as_secs_f64()),
            Err(error) => {
                eprintln!("error: {error}");
                if let Some(hint) = error.hint() {
                    eprintln!("\nhint: {hint}");
                }
                return ExitCode::from(2);
            }
        }
    }
    ExitCode::SUCCESS
}
