//! From a graph to fused operators: what a convolution does along the way is no operator of its own.

use std::collections::HashMap;

use headstart_graph::{Dim, Graph, Node, Op, Reduction, ValueId, ValueKind};
use headstart_kernels::Window;
use headstart_kernels::channels_last::{Finish, PoolKind};

use crate::custom::activation_of;

/// What a fused operator computes of its first inputs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// A convolution, or a linear layer as a convolution with a window as large as the image.
    Convolution { window: Window, groups: usize, weight: ValueId, bias: Option<ValueId> },
    /// A window that slides.
    Pool(PoolKind, Window),
    /// The mean of each channel.
    GlobalMean,
    /// Batch norm by its running statistics: weight, bias, mean, variance.
    BatchNorm { parameters: [ValueId; 4], eps: f64 },
    /// The first input times the second, a number a channel.
    Gate,
    /// The sum of two inputs.
    Add,
    /// Channels of all inputs, one after the other.
    Concat,
    /// The input itself.
    Copy,
}

/// An operator, and what finishes its values while they are at hand.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fused {
    /// The node it comes from, for messages.
    pub(super) path: String,
    pub(super) kind: Kind,
    pub(super) inputs: Vec<ValueId>,
    /// Added before the finish.
    pub(super) residual: Option<ValueId>,
    pub(super) finish: Finish,
    pub(super) output: ValueId,
}

impl Fused {
    /// All values that it reads.
    pub(super) fn reads(&self) -> impl Iterator<Item = ValueId> {
        self.inputs.iter().chain(&self.residual).copied()
    }
}

/// Channels, height and width of an example's value.
pub(super) type ImageShape = [usize; 3];

/// A graph as fused operators on images.
#[derive(Debug)]
pub(super) struct FusedGraph {
    /// The graph's one input.
    pub(super) input: ValueId,
    pub(super) fused: Vec<Fused>,
    /// By value; what is not there is a parameter, or fused away.
    pub(super) shapes: HashMap<ValueId, ImageShape>,
    /// The graph's outputs, as the values that hold them.
    pub(super) outputs: Vec<ValueId>,
}

impl FusedGraph {
    /// By value: the step that makes it.  Step 0 reads the input in; step `i + 1` is operator `i`.
    pub(super) fn made_at(&self) -> HashMap<ValueId, usize> {
        let made = self.fused.iter().zip(1..).map(|(f, step)| (f.output, step));
        std::iter::once((self.input, 0)).chain(made).collect()
    }
}

/// Padding on one side at most; networks have a few.
const PADDING_MAX: usize = 1 << 10;

/// Fuses a graph of one image input, or says which node has no place in it.
pub(super) fn fuse(graph: &Graph) -> Result<FusedGraph, String> {
    let mut inputs = graph.inputs();
    let (input, shape) = match (inputs.next(), inputs.next()) {
        (Some((id, _, spec)), None) if spec.dtype.is_float() => {
            (id, declared(graph, id).ok_or("the input is no image of a known size")?)
        }
        _ => return Err("the network does not read one image".into()),
    };
    let mut fusion = Fusion {
        graph,
        readers: readers(graph),
        is: HashMap::new(),
        shapes: HashMap::from([(input, shape)]),
        fused: Vec::new(),
        makers: HashMap::new(),
    };
    for node in graph.nodes() {
        if fusion.add(node).is_none() {
            return Err(format!("node `{}` ({}) is interpreted", node.path, node.op.name()));
        }
    }
    let outputs = graph.outputs().iter().map(|o| fusion.held(o.value)).collect();
    Ok(FusedGraph { input, outputs, fused: fusion.fused, shapes: fusion.shapes })
}

/// An example's shape of `[batch, c, h, w]`, or of `[batch, c]` as images of one pixel.
fn declared(graph: &Graph, id: ValueId) -> Option<ImageShape> {
    let dims: Vec<Option<usize>> = graph.value(id).shape.0.iter().map(Dim::fixed).collect();
    let shape = match *dims {
        [_, Some(c), Some(h), Some(w)] => [c, h, w],
        [_, Some(c)] => [c, 1, 1],
        _ => return None,
    };
    shape.iter().all(|&n| n > 0).then_some(shape)
}

/// How often each value is read, by nodes or as a result.
fn readers(graph: &Graph) -> HashMap<ValueId, usize> {
    let mut readers = HashMap::new();
    let read = graph.nodes().iter().flat_map(|n| &n.inputs).chain(graph.outputs().iter().map(|o| &o.value));
    read.for_each(|&id| *readers.entry(id).or_default() += 1);
    readers
}

struct Fusion<'a> {
    graph: &'a Graph,
    readers: HashMap<ValueId, usize>,
    /// Values that are another one under a new name or shape.
    is: HashMap<ValueId, ValueId>,
    shapes: HashMap<ValueId, ImageShape>,
    fused: Vec<Fused>,
    /// Positions in `fused` of what makes a value.
    makers: HashMap<ValueId, usize>,
}

impl Fusion<'_> {
    /// The value that holds what `id` names.
    fn held(&self, id: ValueId) -> ValueId {
        self.is.get(&id).copied().unwrap_or(id)
    }

    /// The value of a node's input, if it is an image.
    fn image(&self, node: &Node, i: usize) -> Option<(ValueId, ImageShape)> {
        let (id, shape) = self.image_or_flat(node, i)?;
        (declared(self.graph, node.inputs[i])? == shape).then_some((id, shape))
    }

    /// The same, of which the graph may say that its pixels are channels of one.
    fn image_or_flat(&self, node: &Node, i: usize) -> Option<(ValueId, ImageShape)> {
        let id = self.held(*node.inputs.get(i)?);
        Some((id, *self.shapes.get(&id)?))
    }

    fn param(&self, node: &Node, i: usize) -> Option<ValueId> {
        let id = *node.inputs.get(i)?;
        matches!(self.graph.value(id).kind, ValueKind::Param(_)).then_some(id)
    }

    fn optional_param(&self, node: &Node, i: usize) -> Option<Option<ValueId>> {
        if i < node.inputs.len() { self.param(node, i).map(Some) } else { Some(None) }
    }

    fn out(&self, node: &Node) -> Option<ImageShape> {
        declared(self.graph, node.output)
    }

    /// Takes a node in; none if it has no place here.
    fn add(&mut self, node: &Node) -> Option<()> {
        let finish = Finish::default();
        let clamp = |lo: f64, hi: f64| Finish { clamp: [lo as f32, hi as f32], ..finish };
        match &node.op {
            Op::Conv2d { stride, padding, dilation, groups } => {
                let (_, [c, h, w]) = self.image(node, 0)?;
                let (weight, bias) = (self.param(node, 1)?, self.optional_param(node, 2)?);
                let shape = &self.graph.value(weight).shape;
                let kernel = [shape.known(2)?, shape.known(3)?];
                let padding = padding.resolve([h, w], kernel, *stride, *dilation);
                padding.iter().all(|&p| p <= PADDING_MAX).then_some(())?;
                let (size, stride, dilation) = ([h, w], *stride, *dilation);
                let window = Window { n: 1, c: c / groups, size, kernel, stride, dilation, padding };
                self.push(node, Kind::Convolution { window, groups: *groups, weight, bias }, 1)
            }
            Op::Linear => {
                let (x, [c, h, w]) = self.image_or_flat(node, 0)?;
                // What a reader of a matrix `[batch, features]` reads; not one position after the other.
                (self.graph.value(node.inputs[0]).shape.rank() == 2).then_some(())?;
                let (weight, bias) = (self.param(node, 1)?, self.optional_param(node, 2)?);
                let size = [h, w];
                let window =
                    Window { n: 1, c, size, kernel: size, stride: [1, 1], dilation: [1, 1], padding: [0; 4] };
                self.push_of(node, Kind::Convolution { window, groups: 1, weight, bias }, vec![x])
            }
            Op::BatchNorm { eps, .. } => {
                let parameters = [1, 2, 3, 4].map(|i| self.param(node, i));
                let [Some(weight), Some(bias), Some(mean), Some(variance)] = parameters else { return None };
                let parameters = [weight, bias, mean, variance];
                self.push(node, Kind::BatchNorm { parameters, eps: *eps }, 1)
            }
            Op::MaxPool2d { kernel, stride, padding, .. } => {
                self.pool(node, PoolKind::Max, *kernel, *stride, *padding)
            }
            Op::AvgPool2d { kernel, stride, padding, count_include_pad, .. } => {
                let kind = if *count_include_pad { PoolKind::MeanWithPadding } else { PoolKind::Mean };
                self.pool(node, kind, *kernel, *stride, *padding)
            }
            Op::AdaptiveAvgPool2d { size } => match self.image(node, 0)?.1 {
                [_, h, w] if *size == [h, w] => self.same(node),
                _ if *size == [1, 1] => self.push(node, Kind::GlobalMean, 1),
                _ => None,
            },
            Op::Reduce { function: Reduction::Mean, axes, .. } if *axes == [2, 3] => {
                self.push(node, Kind::GlobalMean, 1)
            }
            Op::Relu => self.finish(node, clamp(0.0, f64::INFINITY)),
            Op::Clip { min, max } => self.finish(node, clamp(*min, *max)),
            op @ (Op::Silu | Op::Sigmoid | Op::Gelu { .. }) => {
                self.finish(node, Finish { activation: activation_of(op)?, ..finish })
            }
            Op::Add => self.sum(node),
            Op::Mul => {
                let ((x, a), (y, b)) = (self.image(node, 0)?, self.image(node, 1)?);
                let out = self.out(node)?;
                let inputs = match (a, b) {
                    ([c, ..], [d, 1, 1]) if c == d && a == out => vec![x, y],
                    ([c, 1, 1], [d, ..]) if c == d && b == out => vec![y, x],
                    _ => return None,
                };
                self.push_of(node, Kind::Gate, inputs)
            }
            Op::Concat { axis: 1 } => {
                let inputs =
                    (0..node.inputs.len()).map(|i| Some(self.image(node, i)?.0)).collect::<Option<_>>()?;
                self.push_of(node, Kind::Concat, inputs)
            }
            Op::Flatten { start: 1 } => self.same(node),
            Op::Reshape { .. } if self.graph.value(node.output).shape.rank() == 2 => self.same(node),
            Op::Dropout { .. } | Op::DropPath { .. } => self.same(node),
            _ => None,
        }
    }

    /// An operator on the first `n_inputs` inputs.
    fn push(&mut self, node: &Node, kind: Kind, n_inputs: usize) -> Option<()> {
        let inputs = (0..n_inputs).map(|i| Some(self.image(node, i)?.0)).collect::<Option<_>>()?;
        self.push_of(node, kind, inputs)
    }

    fn push_of(&mut self, node: &Node, kind: Kind, inputs: Vec<ValueId>) -> Option<()> {
        self.shapes.insert(node.output, self.out(node)?);
        self.makers.insert(node.output, self.fused.len());
        let (path, output) = (node.path.clone(), node.output);
        self.fused.push(Fused { path, kind, inputs, residual: None, finish: Finish::default(), output });
        Some(())
    }

    fn pool(
        &mut self,
        node: &Node,
        kind: PoolKind,
        kernel: [usize; 2],
        stride: [usize; 2],
        [rows, cols]: [usize; 2],
    ) -> Option<()> {
        let (_, [c, h, w]) = self.image(node, 0)?;
        // A window that lies in the padding alone would have nothing to take.
        (rows < kernel[0] && cols < kernel[1] && rows.max(cols) <= PADDING_MAX).then_some(())?;
        let padding = [rows, cols, rows, cols];
        let window = Window { n: 1, c, size: [h, w], kernel, stride, dilation: [1, 1], padding };
        self.push(node, Kind::Pool(kind, window), 1)
    }

    /// The node's value is its input, read in another shape.
    fn same(&mut self, node: &Node) -> Option<()> {
        let (x, shape) = self.image_or_flat(node, 0)?;
        let out: usize = self.out(node)?.iter().product();
        (out == shape.iter().product::<usize>()).then_some(())?;
        // Whoever reads the new name reads the old value.
        *self.readers.entry(x).or_default() += self.readers.get(&node.output).copied().unwrap_or(0);
        *self.readers.entry(x).or_default() -= 1;
        self.is.insert(node.output, x);
        Some(())
    }

    /// Finishes what the node before makes, if nobody else reads it unfinished.
    fn finish(&mut self, node: &Node, finish: Finish) -> Option<()> {
        let (x, shape) = self.image(node, 0)?;
        let maker = self.makers.get(&x).map(|&i| &mut self.fused[i]);
        if let Some(maker) = maker
            && self.readers.get(&x) == Some(&1)
            && maker.finish == Finish::default()
            && !matches!(maker.kind, Kind::Pool(..) | Kind::GlobalMean | Kind::Concat)
        {
            maker.finish = finish;
            return self.renamed(x, node.output, shape);
        }
        self.push(node, Kind::Copy, 1)?;
        self.fused.last_mut()?.finish = finish;
        Some(())
    }

    /// The operator that makes `x` makes `output` instead.
    fn renamed(&mut self, x: ValueId, output: ValueId, shape: ImageShape) -> Option<()> {
        let at = self.makers.remove(&x)?;
        self.fused[at].output = output;
        self.makers.insert(output, at);
        self.shapes.remove(&x);
        self.shapes.insert(output, shape);
        Some(())
    }

    /// A sum is done by the later of the convolutions that make its terms.
    fn sum(&mut self, node: &Node) -> Option<()> {
        let ((x, a), (y, b)) = (self.image(node, 0)?, self.image(node, 1)?);
        (a == b && self.out(node)? == a).then_some(())?;
        let convolves = |id: ValueId, fusion: &Self| {
            let at = *fusion.makers.get(&id)?;
            let f = &fusion.fused[at];
            let fits = fusion.readers.get(&id) == Some(&1)
                && f.finish == Finish::default()
                && f.residual.is_none()
                && !is_depthwise(&f.kind)
                && matches!(f.kind, Kind::Convolution { .. });
            fits.then_some(at)
        };
        let made_at = |id: ValueId, fusion: &Self| fusion.makers.get(&id).map_or(0, |&at| at + 1);
        for (term, other) in [(x, y), (y, x)] {
            if let Some(at) = convolves(term, self)
                && made_at(other, self) <= at
            {
                self.fused[at].residual = Some(other);
                return self.renamed(term, node.output, a);
            }
        }
        self.push(node, Kind::Add, 2)
    }
}

/// Whether a convolution has one filter for each channel.
pub(super) fn is_depthwise(kind: &Kind) -> bool {
    matches!(kind, Kind::Convolution { window, groups, .. } if window.c == 1 && *groups > 1)
}
