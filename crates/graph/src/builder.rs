//! Builds a graph node by node; every architecture of the zoo is a short function over this.

use std::collections::{HashMap, HashSet};

use crate::graph::{Graph, Init, InputSpec, Node, Output, Param, Role, Value, ValueId, ValueKind};
use crate::{DType, Dim, GraphError, Op, Padding, Shape};

/// Collects values and nodes.  Shapes are inferred at once, so a mistake is reported where it is made.
///
/// Parameters are named `<path>.weight`, `<path>.bias`, … as in the reference implementations' state dicts.
///
/// ```
/// use headstart_graph::{Conv, GraphBuilder};
/// let mut b = GraphBuilder::new("tiny");
/// let x = b.image("image", [3, 32, 32]);
/// let x = b.conv("conv1", x, Conv::new(8, 3).stride(2).padding(1).no_bias())?;
/// let x = b.batch_norm("bn1", x, 1e-5, 0.1)?;
/// let x = b.relu("relu", x)?;
/// let x = b.global_avg_pool("avgpool", x)?;
/// let logits = b.linear("fc", x, 10)?;
/// let graph = b.finish([("logits", logits)])?;
/// assert_eq!(graph.value(graph.output()).shape.to_string(), "[batch, 10]");
/// assert_eq!(graph.n_learned(), 8 * 3 * 9 + 2 * 8 + 8 * 10 + 10);
/// # Ok::<(), headstart_graph::GraphError>(())
/// ```
#[derive(Debug)]
pub struct GraphBuilder {
    graph: Graph,
    paths: HashSet<String>,
    params: HashSet<String>,
    reserved: HashMap<String, ValueId>,
}

/// A convolution's settings; square kernels by default.
#[derive(Debug, Clone, Copy)]
pub struct Conv {
    out: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: Padding,
    dilation: [usize; 2],
    groups: usize,
    bias: bool,
    init: Option<Init>,
}

impl Conv {
    /// `out` channels under a square window.
    pub fn new(out: usize, kernel: usize) -> Self {
        Self::rect(out, [kernel, kernel])
    }

    /// `out` channels under a window of `[height, width]`.
    pub fn rect(out: usize, kernel: [usize; 2]) -> Self {
        Conv {
            out,
            kernel,
            stride: [1, 1],
            padding: Padding::all(0),
            dilation: [1, 1],
            groups: 1,
            bias: true,
            init: None,
        }
    }

    /// Step of the window.
    pub fn stride(mut self, n: usize) -> Self {
        self.stride = [n, n];
        self
    }

    /// The same zeros on every side.
    pub fn padding(mut self, n: usize) -> Self {
        self.padding = Padding::all(n);
        self
    }

    /// Any padding.
    pub fn pad(mut self, padding: Padding) -> Self {
        self.padding = padding;
        self
    }

    /// Distance between the window's taps.
    pub fn dilation(mut self, n: usize) -> Self {
        self.dilation = [n, n];
        self
    }

    /// Channel groups; as many as channels make it depthwise.
    pub fn groups(mut self, n: usize) -> Self {
        self.groups = n;
        self
    }

    /// No bias: a batch norm follows.
    pub fn no_bias(mut self) -> Self {
        self.bias = false;
        self
    }

    /// Inputs of one output channel's window, for an input of so many channels.
    pub fn fan_in(&self, channels: usize) -> usize {
        channels / self.groups.max(1) * self.kernel[0] * self.kernel[1]
    }

    /// Another initial distribution of the weight than [`Init::kaiming_fan_out`].
    pub fn init(mut self, init: Init) -> Self {
        self.init = Some(init);
        self
    }
}

impl GraphBuilder {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Self {
        let graph = Graph { name: name.into(), values: Vec::new(), nodes: Vec::new(), outputs: Vec::new() };
        GraphBuilder { graph, paths: HashSet::new(), params: HashSet::new(), reserved: HashMap::new() }
    }

    /// Goes on building an existing graph.
    pub(crate) fn resume(graph: Graph) -> Self {
        let paths = graph.nodes.iter().map(|n| n.path.clone()).collect();
        let params = graph.params().map(|(_, name, _)| name.to_string()).collect();
        GraphBuilder { graph, paths, params, reserved: HashMap::new() }
    }

    /// The shape of a value.
    pub fn shape(&self, id: ValueId) -> &Shape {
        &self.graph.value(id).shape
    }

    /// Channels of an image `[batch, channels, height, width]`.
    pub fn channels(&self, id: ValueId) -> usize {
        self.shape(id).known(1).unwrap_or(0)
    }

    /// Declares an input.
    pub fn input(&mut self, name: &str, spec: InputSpec) -> ValueId {
        let shape = spec.shape.clone();
        self.value(name, ValueKind::Input(spec), shape)
    }

    /// An image input `[batch, channels, height, width]` of f32.
    pub fn image(&mut self, name: &str, [c, h, w]: [usize; 3]) -> ValueId {
        self.input(name, InputSpec { dtype: DType::F32, shape: Shape::image(c, h, w), default: None })
    }

    /// An integer input `[batch, sequence]`; `default` fills it where a caller leaves it out.
    pub fn ids(&mut self, name: &str, default: Option<i64>) -> ValueId {
        let shape = Shape(vec![Dim::batch(), Dim::sequence()]);
        self.input(name, InputSpec { dtype: DType::I64, shape, default })
    }

    /// Declares a learned parameter.
    pub fn param(&mut self, name: String, shape: &[usize], init: Init) -> Result<ValueId, GraphError> {
        self.tensor(name, shape, Role::Learned, init)
    }

    /// Declares a learned parameter ahead of its use: the layers that name it later read this one, as many as there are.
    /// For state dicts whose order is not that of the computation, and for layers that share parameters.
    pub fn reserve(&mut self, name: String, shape: &[usize], init: Init) -> Result<ValueId, GraphError> {
        let id = self.param(name.clone(), shape, init)?;
        self.reserved.insert(name, id);
        Ok(id)
    }

    /// Declares a parameter that no gradient changes.
    pub fn buffer(&mut self, name: String, shape: &[usize], init: Init) -> Result<ValueId, GraphError> {
        self.tensor(name, shape, Role::Buffer, init)
    }

    fn tensor(
        &mut self,
        name: String,
        shape: &[usize],
        role: Role,
        init: Init,
    ) -> Result<ValueId, GraphError> {
        if let Some(&id) = self.reserved.get(&name) {
            let (want, got) = (self.shape(id).clone(), Shape::fixed(shape));
            return if want == got { Ok(id) } else { Err(GraphError::Shape { want, got }) };
        }
        if !self.params.insert(name.clone()) {
            return Err(GraphError::DuplicateName(name));
        }
        let param = Param { shape: shape.to_vec(), role, init };
        Ok(self.value(&name, ValueKind::Param(param), Shape::fixed(shape)))
    }

    /// Declares a parameter that another graph has.
    pub(crate) fn declare(&mut self, name: String, param: Param) -> Result<ValueId, GraphError> {
        self.tensor(name, &param.shape, param.role, param.init)
    }

    /// Applies an operator.
    pub fn node(&mut self, path: &str, op: Op, inputs: &[ValueId]) -> Result<ValueId, GraphError> {
        if !self.paths.insert(path.to_string()) {
            return Err(GraphError::DuplicateName(path.into()));
        }
        let shape = self.graph.infer(path, &op, inputs)?;
        let output = self.value(path, ValueKind::Node, shape);
        self.graph.nodes.push(Node { path: path.into(), op, inputs: inputs.to_vec(), output });
        Ok(output)
    }

    /// Convolution with parameters `<path>.weight` and, unless told otherwise, `<path>.bias`.
    pub fn conv(&mut self, path: &str, x: ValueId, c: Conv) -> Result<ValueId, GraphError> {
        let shape = [c.out, self.channels(x) / c.groups.max(1), c.kernel[0], c.kernel[1]];
        let init = c.init.unwrap_or(Init::kaiming_fan_out(&shape, c.groups));
        let mut inputs = vec![x, self.param(format!("{path}.weight"), &shape, init)?];
        if c.bias {
            inputs.push(self.param(format!("{path}.bias"), &[c.out], Init::Constant(0.0))?);
        }
        let op = Op::Conv2d { stride: c.stride, padding: c.padding, dilation: c.dilation, groups: c.groups };
        self.node(path, op, &inputs)
    }

    /// Batch norm with `<path>.weight`, `.bias`, `.running_mean` and `.running_var`.
    pub fn batch_norm(
        &mut self,
        path: &str,
        x: ValueId,
        eps: f64,
        momentum: f64,
    ) -> Result<ValueId, GraphError> {
        let c = [self.channels(x)];
        let inputs = [
            x,
            self.param(format!("{path}.weight"), &c, Init::Constant(1.0))?,
            self.param(format!("{path}.bias"), &c, Init::Constant(0.0))?,
            self.buffer(format!("{path}.running_mean"), &c, Init::Constant(0.0))?,
            self.buffer(format!("{path}.running_var"), &c, Init::Constant(1.0))?,
        ];
        self.node(path, Op::BatchNorm { eps, momentum }, &inputs)
    }

    /// Layer norm over the last axis with `<path>.weight` and `.bias`.
    pub fn layer_norm(&mut self, path: &str, x: ValueId, eps: f64) -> Result<ValueId, GraphError> {
        let c = [self.width(x)];
        let weight = self.param(format!("{path}.weight"), &c, Init::Constant(1.0))?;
        let bias = self.param(format!("{path}.bias"), &c, Init::Constant(0.0))?;
        self.node(path, Op::LayerNorm { eps }, &[x, weight, bias])
    }

    /// Linear layer with `<path>.weight [out, in]` and `.bias`, drawn uniformly in ±1/√in.
    pub fn linear(&mut self, path: &str, x: ValueId, out: usize) -> Result<ValueId, GraphError> {
        let init = Init::fan_in_uniform(self.width(x));
        self.linear_init(path, x, out, init, init)
    }

    /// Linear layer with given initial distributions of weight and bias.
    pub fn linear_init(
        &mut self,
        path: &str,
        x: ValueId,
        out: usize,
        weight: Init,
        bias: Init,
    ) -> Result<ValueId, GraphError> {
        let w = self.param(format!("{path}.weight"), &[out, self.width(x)], weight)?;
        let b = self.param(format!("{path}.bias"), &[out], bias)?;
        self.node(path, Op::Linear, &[x, w, b])
    }

    /// Rectifier.
    pub fn relu(&mut self, path: &str, x: ValueId) -> Result<ValueId, GraphError> {
        self.node(path, Op::Relu, &[x])
    }

    /// Max pooling with a square window.
    pub fn max_pool(
        &mut self,
        path: &str,
        x: ValueId,
        [kernel, stride, padding]: [usize; 3],
        ceil_mode: bool,
    ) -> Result<ValueId, GraphError> {
        let op = Op::MaxPool2d { kernel: [kernel; 2], stride: [stride; 2], padding: [padding; 2], ceil_mode };
        self.node(path, op, &[x])
    }

    /// Mean over height and width, then `[batch, channels]`; makes the nodes `<path>` and `<path>.flatten`.
    pub fn global_avg_pool(&mut self, path: &str, x: ValueId) -> Result<ValueId, GraphError> {
        let x = self.node(path, Op::AdaptiveAvgPool2d { size: [1, 1] }, &[x])?;
        self.node(&format!("{path}.flatten"), Op::Flatten { start: 1 }, &[x])
    }

    /// Names the results and checks the whole.
    pub fn finish<'a>(
        self,
        outputs: impl IntoIterator<Item = (&'a str, ValueId)>,
    ) -> Result<Graph, GraphError> {
        let mut graph = self.graph;
        graph.outputs =
            outputs.into_iter().map(|(name, value)| Output { name: name.into(), value }).collect();
        graph.check()?;
        Ok(graph)
    }

    fn width(&self, x: ValueId) -> usize {
        self.shape(x).width().unwrap_or(0)
    }

    fn value(&mut self, name: &str, kind: ValueKind, shape: Shape) -> ValueId {
        self.graph.values.push(Value { name: name.into(), kind, shape });
        ValueId((self.graph.values.len() - 1) as u32)
    }
}
