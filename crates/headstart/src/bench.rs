//! How fast a network runs here: items a second, arithmetic, the share of what the cores can do, memory.

use std::time::{Duration, Instant};

use headstart_core::{Array, Batch, Precision, Rng, Values};
use headstart_engine::{
    AdamW, Device, EngineError, Frozen, LossInput, Network, cross_entropy, kernel_precision, random_weights,
};
use headstart_graph::rewrite::fold;
use headstart_graph::{Dim, Graph, Shape, multiply_adds};
use headstart_kernels::{Isa, peak};
use headstart_zoo::BuildOptions;
use serde::Serialize;

use crate::precision::fastest_harmless;
use crate::run::{cpu_seconds, peak_mb};
use crate::{Error, Observer, PrecisionChoice};

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BenchWork {
    /// A forward pass of a folded network that will not learn any more.
    Forward,
    /// A step of training: forward, backward, update by AdamW.
    Step,
}

/// What to time, and how often.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// An architecture of [`crate::architectures`], filled with random weights.
    pub arch: String,
    /// Examples a batch, 1 to 4096.
    pub batch: usize,
    /// Tokens an example, for networks that read texts.
    pub tokens: usize,
    /// What products are computed in: `f32`, `bf16`, and of what does not learn `int8`, or `auto` for the fastest in which
    /// this batch's outputs are those in f32, as `fit --precision auto` tests it.
    pub dtype: String,
    /// Runs that count, after two that do not.
    pub repeats: usize,
}

impl BenchOptions {
    /// Sixteen examples of 128 tokens in f32, five times.
    pub fn new(arch: &str) -> Self {
        BenchOptions { arch: arch.into(), batch: 16, tokens: 128, dtype: "f32".into(), repeats: 5 }
    }
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct BenchReport {
    /// What was timed.
    pub work: BenchWork,
    /// The architecture.
    pub arch: String,
    /// Examples a batch.
    pub batch: usize,
    /// What was asked for.
    pub dtype: String,
    /// What products were computed in.
    pub precision: Precision,
    /// Where `auto` chose fewer bits than f32, how far they moved the outputs of the batch, over their spread.
    pub noise: Option<f64>,
    /// Threads.
    pub n_threads: usize,
    /// Examples a second, by the median run.
    pub items_per_s: f64,
    /// Seconds of the median run.
    pub seconds: f64,
    /// Processor seconds of all threads a run; on a shared machine steadier than the clock.  None where the system does
    /// not say.
    pub cpu_seconds: Option<f64>,
    /// Multiplications and additions of convolutions, linear layers and attention, 10⁹ a second; a step counts three
    /// forward passes.
    pub gflops: f64,
    /// What chains of independent multiply-adds reach on the same threads, measured between the runs.
    pub peak_gflops: f64,
    /// The one over the other.
    pub share: f64,
    /// The most memory that the process held, MiB.
    pub peak_mb: Option<f64>,
}

/// Times `work` on the processor.
///
/// ```
/// use headstart::{BenchOptions, BenchWork, Silent, bench};
/// let options = BenchOptions { batch: 1, repeats: 1, ..BenchOptions::new("squeezenet1_1") };
/// let report = bench(BenchWork::Forward, &options, &Silent)?;
/// assert!(report.items_per_s > 0.0 && report.share < 2.0);
/// # Ok::<(), headstart::Error>(())
/// ```
pub fn bench(work: BenchWork, options: &BenchOptions, observer: &dyn Observer) -> Result<BenchReport, Error> {
    for (name, value, max) in [
        ("batch", options.batch, 4096),
        ("tokens", options.tokens, 4096),
        ("repeats", options.repeats, 10_000),
    ] {
        if value == 0 || value > max {
            return Err(Error::request(
                format!("--{name} is {value} (1 to {max})"),
                format!("pass `--{name} 8`"),
            ));
        }
    }
    let choice = match (options.dtype.parse(), work) {
        (Ok(choice @ PrecisionChoice::Fixed(Precision::F32 | Precision::Bf16)), _) => choice,
        (Ok(choice), BenchWork::Forward) => choice,
        _ => {
            let message =
                format!("dtype `{}` cannot be timed (f32, bf16; forward also int8, auto)", options.dtype);
            return Err(Error::request(message, "pass `--dtype f32`"));
        }
    };
    let n_classes = 10;
    let graph = headstart_zoo::build(&options.arch, &BuildOptions::classes(n_classes))?;
    let passes = if work == BenchWork::Step { 3.0 } else { 1.0 };
    let operations = 2.0 * passes * (options.batch as u64 * multiply_adds(&graph, options.tokens)) as f64;
    let batch = batch(&graph, options);
    let weights = random_weights(&graph, 0)?;
    let mut noise = None;
    let (mut timed, precision) = match work {
        BenchWork::Forward => {
            let (graph, weights) = fold(&graph, &weights)?;
            let load = |precision| Frozen::load(graph.clone(), &weights, &Device::cpu(), precision);
            let precision = match choice {
                PrecisionChoice::Fixed(precision) => precision,
                PrecisionChoice::Auto => {
                    let (precision, found) = harmless(&load, &batch)?;
                    noise = found;
                    precision
                }
            };
            (Timed::Frozen(Box::new(load(precision)?)), precision)
        }
        BenchWork::Step => {
            let precision = if options.dtype == "bf16" { Precision::Bf16 } else { Precision::F32 };
            let mut network = Network::load(graph, &weights, &Device::cpu())?;
            network.products_in(precision);
            (Timed::Network(Box::new(network)), precision)
        }
    };
    drop(weights);
    let labels: Vec<usize> = (0..options.batch).map(|i| i % n_classes).collect();
    let (mut optimiser, mut rng) = (AdamW::new(1e-5, 0.01), Rng::new(0));
    let (mut seconds, mut peaks, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    let n_runs = options.repeats + 2;
    let tick = |done: usize| observer.progress("timing", done as u64, n_runs as u64);
    tick(0);
    for i in 0..n_runs {
        peaks.push(peak_of_cores(precision));
        let (start, cpu_start) = (Instant::now(), cpu_seconds());
        match &mut timed {
            Timed::Frozen(network) => drop(network.infer(&batch)?),
            Timed::Network(network) => {
                let loss = |i: LossInput<'_>| cross_entropy(i.output(), &labels, i.device);
                network.step(&batch, &|_| true, &loss, &mut optimiser, &mut rng)?;
            }
        }
        if i >= 2 {
            seconds.push(start.elapsed().as_secs_f64());
            cpu.extend(cpu_seconds().zip(cpu_start).map(|(end, start)| end - start));
        }
        tick(i + 1);
    }
    let (seconds, peak) = (median(seconds), median(peaks));
    Ok(BenchReport {
        work,
        arch: options.arch.clone(),
        batch: options.batch,
        dtype: options.dtype.clone(),
        precision,
        noise,
        n_threads: rayon::current_num_threads(),
        items_per_s: options.batch as f64 / seconds,
        seconds,
        cpu_seconds: (!cpu.is_empty()).then(|| median(cpu)),
        gflops: operations / seconds / 1e9,
        peak_gflops: peak / 1e9,
        share: operations / seconds / peak,
        peak_mb: peak_mb(),
    })
}

/// What the cores can do in a precision, or in f32 where they have nothing quicker.
fn peak_of_cores(precision: Precision) -> f64 {
    let precision = if Device::cpu().accelerates(precision) { precision } else { Precision::F32 };
    peak::measure(kernel_precision(precision), Isa::best(), Duration::from_millis(50))
}

/// The fastest precision that is harmless, and its noise.
fn harmless(
    load: &dyn Fn(Precision) -> Result<Frozen, EngineError>,
    batch: &Batch,
) -> Result<(Precision, Option<f64>), Error> {
    let outputs = |precision| -> Result<(Vec<f32>, usize), Error> {
        let array = load(precision)?.infer(batch)?;
        let width = array.shape[1..].iter().product();
        match array.values {
            Values::F32(values) => Ok((values, width)),
            Values::I64(_) => unreachable!("a network's output is f32"),
        }
    };
    let (want, width) = outputs(Precision::F32)?;
    let tried = fastest_harmless(&Device::cpu(), &want, width, &|precision| Ok(((), outputs(precision)?.0)))?;
    Ok(match (tried.chosen, tried.noises.last()) {
        (Some((precision, ())), Some(&(_, noise))) => (precision, Some(noise)),
        _ => (Precision::F32, None),
    })
}

/// A network that learns, or never will.
enum Timed {
    Frozen(Box<Frozen>),
    Network(Box<Network>),
}

/// A batch of pictures that differ as photographs do, coarsely and finely, or of tokens that are drawn at random.
fn batch(graph: &Graph, options: &BenchOptions) -> Batch {
    let mut rng = Rng::new(1);
    let inputs = graph
        .inputs()
        .filter(|(_, _, spec)| spec.default.is_none())
        .map(|(_, name, spec)| {
            let shape = sizes(&spec.shape, options);
            let n: usize = shape.iter().product();
            let array = if spec.dtype.is_float() {
                let patches: Vec<f64> = (0..n.div_ceil(PATCH)).map(|_| rng.normal()).collect();
                Array::f32(&shape, (0..n).map(|i| (patches[i / PATCH] + 0.3 * rng.normal()) as f32).collect())
            } else if name.contains("mask") {
                Array::i64(&shape, vec![1; n])
            } else {
                // Few enough for every vocabulary.
                Array::i64(&shape, (0..n).map(|_| (rng.uniform() * 20_000.0) as i64).collect())
            };
            (name.to_string(), array)
        })
        .collect();
    Batch { inputs }
}

/// Pixels of one colour, but for noise: some rows of a plane.
const PATCH: usize = 8192;

/// Numbers for symbols: the first is the batch, others are tokens.
fn sizes(shape: &Shape, options: &BenchOptions) -> Vec<usize> {
    let of = |(i, d): (usize, &Dim)| match d {
        Dim::Fixed(n) => *n,
        Dim::Symbol(_) if i == 0 => options.batch,
        Dim::Symbol(_) => options.tokens,
    };
    shape.0.iter().enumerate().map(of).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Silent;

    #[test]
    fn what_cannot_be_timed_is_refused() {
        let with = |f: fn(&mut BenchOptions)| {
            let mut options = BenchOptions::new("resnet18");
            f(&mut options);
            bench(BenchWork::Forward, &options, &Silent).expect_err("refused").to_string()
        };
        assert_eq!(with(|o| o.batch = 0), "--batch is 0 (1 to 4096)");
        assert_eq!(
            with(|o| o.dtype = "f8".into()),
            "dtype `f8` cannot be timed (f32, bf16; forward also int8, auto)"
        );
        assert!(with(|o| o.arch = "resnet19".into()).contains("resnet18"));
    }
}
