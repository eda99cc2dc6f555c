//! A network that will not learn any more.

use std::sync::Mutex;

use headstart_core::{Array, Batch, Precision, Values};
use headstart_graph::{Graph, Weights};
use headstart_kernels::channels_last::{export, import, transfer};
use headstart_kernels::{Floats, Precision as KernelPrecision};
use rayon::prelude::*;

use super::fusion::fuse;
use super::part::{Part, parted};
use crate::device::kernel_precision;
use crate::network::{check_weights, input};
use crate::{Device, EngineError, Network};

/// Examples that a thread takes through the network together: enough to make reading the weights worth while, few enough
/// to keep values in cache.
const GROUP: usize = 4;

/// A network for inference alone: on the processor compiled where it can be, interpreted elsewhere.
///
/// ```
/// use headstart_core::{Array, Batch, Precision};
/// use headstart_engine::{Device, Frozen, Network, random_weights};
/// use headstart_graph::{Conv, GraphBuilder};
///
/// let mut b = GraphBuilder::new("tiny");
/// let x = b.image("image", [3, 8, 8]);
/// let x = b.conv("conv", x, Conv::new(4, 3))?;
/// let x = b.relu("relu", x)?;
/// let x = b.global_avg_pool("pool", x)?;
/// let y = b.linear("fc", x, 2)?;
/// let graph = b.finish([("logits", y)])?;
/// let weights = random_weights(&graph, 0)?;
/// let frozen = Frozen::load(graph, &weights, &Device::cpu(), Precision::F32)?;
/// assert!(frozen.is_compiled());
/// let logits = frozen.infer(&Batch::image(Array::f32(&[5, 3, 8, 8], vec![0.5; 5 * 192])))?;
/// assert_eq!(logits.shape, [5, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Frozen {
    graph: Graph,
    way: Way,
}

/// How it runs.
#[derive(Debug)]
enum Way {
    Compiled(Box<Compiled>),
    Interpreted { network: Box<Network>, why: String },
}

impl Frozen {
    /// Compiles a graph, or loads it to be interpreted.  Batch norms and dropout are best folded before
    /// ([`headstart_graph::rewrite::fold`]).  Every parameter must have weights of its shape.
    ///
    /// Products are in `precision` where that pays: in convolutions of compiled networks, and in linear layers; what lies
    /// between them is f32.  Other devices than the processor stay with f32.
    pub fn load(
        graph: Graph,
        weights: &Weights,
        device: &Device,
        precision: Precision,
    ) -> Result<Self, EngineError> {
        check_weights(&graph, weights)?;
        let precision = kernel_precision(precision);
        let compiled = if device.is_cpu() {
            Compiled::new(&graph, weights, precision)?
        } else {
            Err(format!("{device} interprets"))
        };
        let way = match compiled {
            Ok(compiled) => Way::Compiled(Box::new(compiled)),
            Err(why) => {
                let network = match device.is_cpu() {
                    true => Network::load_packed(graph.clone(), weights, device, precision)?,
                    false => Network::load(graph.clone(), weights, device)?,
                };
                Way::Interpreted { network: Box::new(network), why }
            }
        };
        Ok(Frozen { graph, way })
    }

    /// True if it was compiled.  Examples of a batch then do not touch each other's numbers.
    pub fn is_compiled(&self) -> bool {
        matches!(self.way, Way::Compiled(_))
    }

    /// Why it is interpreted, if it is.
    pub fn why_interpreted(&self) -> Option<&str> {
        match &self.way {
            Way::Compiled(_) => None,
            Way::Interpreted { why, .. } => Some(why),
        }
    }

    /// The main output.
    pub fn infer(&self, batch: &Batch) -> Result<Array, EngineError> {
        Ok(self.infer_all(batch)?.swap_remove(0))
    }

    /// All outputs, in the graph's order.
    pub fn infer_all(&self, batch: &Batch) -> Result<Vec<Array>, EngineError> {
        match &self.way {
            Way::Compiled(compiled) => compiled.run(&self.graph, batch),
            Way::Interpreted { network, .. } => network.infer_all(batch),
        }
    }
}

/// A network in one part or two.
#[derive(Debug)]
struct Compiled {
    /// What is run example by example, if the network has such a part.
    early: Option<Part>,
    /// What is run on several examples at once.
    late: Part,
    /// Arenas that no thread uses now.
    arenas: Mutex<Vec<Floats>>,
}

impl Compiled {
    /// The steps of a graph, or why it cannot be compiled.
    fn new(
        graph: &Graph,
        weights: &Weights,
        precision: KernelPrecision,
    ) -> Result<Result<Self, String>, EngineError> {
        let whole = match fuse(graph) {
            Ok(whole) => whole,
            Err(why) => return Ok(Err(why)),
        };
        let (early, late) = match parted(&whole) {
            Some([early, late]) => (Some(early), late),
            None => (None, whole),
        };
        let early = early.map(|part| Part::new(graph, &part, weights, precision)).transpose()?.transpose();
        Ok(match (early, Part::new(graph, &late, weights, precision)?) {
            (Ok(early), Ok(late)) => Ok(Compiled { early, late, arenas: Mutex::default() }),
            (Err(why), _) | (_, Err(why)) => Err(why),
        })
    }

    fn run(&self, graph: &Graph, batch: &Batch) -> Result<Vec<Array>, EngineError> {
        let (_, name, spec) = graph.inputs().next().expect("a compiled network has one input");
        let array = input(batch, name, spec)?;
        let Values::F32(pixels) = &array.values else { unreachable!("the input was checked to be f32") };
        let n = array.shape[0];
        let n_threads = rayon::current_num_threads();
        let group = n.div_ceil(n_threads).clamp(1, GROUP);
        let each = (pixels.len() / n.max(1)).max(1);
        // Threads take groups of examples; where there are too few, they share the work of every step.
        let in_parallel = n.div_ceil(group) < n_threads;
        let groups: Vec<&[f32]> = pixels.chunks(group * each).collect();
        let parts: Vec<Vec<Vec<f32>>> = if in_parallel {
            groups.into_iter().map(|x| self.run_group(x, each, true)).collect()
        } else {
            groups.into_par_iter().with_max_len(1).map(|x| self.run_group(x, each, false)).collect()
        };
        let arrays = graph.outputs().iter().enumerate().map(|(i, output)| {
            let values: Vec<f32> = parts.iter().flat_map(|part| part[i].iter().copied()).collect();
            let dims = graph.value(output.value).shape.0.iter().map(|d| d.fixed().unwrap_or(n));
            let mut shape: Vec<usize> = dims.collect();
            shape[0] = n;
            Array::f32(&shape, values)
        });
        Ok(arrays.collect())
    }

    /// The outputs of some examples of `each` pixels.
    fn run_group(&self, pixels: &[f32], each: usize, in_parallel: bool) -> Vec<Vec<f32>> {
        let n = pixels.len() / each;
        let early_len = self.early.as_ref().map_or(0, |part| part.len.next_multiple_of(16));
        let len = early_len + n * self.late.len;
        let kept = self.arenas.lock().ok().and_then(|mut arenas| arenas.pop());
        let mut arena = kept.filter(|a| a.len() >= len).unwrap_or_else(|| Floats::zeros(len));
        let (early_arena, late_arena) = arena.split_at_mut(early_len);
        match &self.early {
            Some(early) => {
                for (i, x) in pixels.chunks_exact(each).enumerate() {
                    import(x, early_arena, 1, &early.input);
                    early.run(early_arena, 1, in_parallel);
                    transfer(early_arena, &early.outputs[0], late_arena, n, i, &self.late.input);
                }
            }
            None => import(pixels, late_arena, n, &self.late.input),
        }
        self.late.run(late_arena, n, in_parallel);
        let outputs = self.late.outputs.iter().map(|view| {
            let mut values = Vec::new();
            export(late_arena, n, view, &mut values);
            values
        });
        let outputs = outputs.collect();
        if let Ok(mut arenas) = self.arenas.lock() {
            arenas.push(arena);
        }
        outputs
    }
}
