//! `headstart bench`: times a network on this machine.

use headstart::{BenchOptions, BenchWork, Error};

use crate::args::{BenchArgs, BenchWorkArg};
use crate::output;
use crate::progress::Bars;

pub(crate) fn run(args: &BenchArgs, json: bool) -> Result<u8, Error> {
    let work = match args.work {
        BenchWorkArg::Forward => BenchWork::Forward,
        BenchWorkArg::Step => BenchWork::Step,
    };
    let options = BenchOptions {
        arch: args.arch.clone(),
        batch: args.batch,
        tokens: args.tokens,
        dtype: args.dtype.clone(),
        repeats: args.repeats,
    };
    let report = headstart::bench(work, &options, &Bars::new())?;
    if json {
        output::json(&report);
        return Ok(0);
    }
    println!("{:.1} examples a second in batches of {}", report.items_per_s, report.batch);
    println!(
        "{:.1} of {:.1} GFLOP/s, {:.0} % of what {} threads can do",
        report.gflops,
        report.peak_gflops,
        100.0 * report.share,
        report.n_threads
    );
    if let Some(noise) = report.noise {
        println!("in {}, whose rounding moves the outputs by {noise:.3} of their spread", report.precision);
    }
    if let Some(mb) = report.peak_mb {
        println!("at most {mb:.0} MiB of memory");
    }
    Ok(0)
}
