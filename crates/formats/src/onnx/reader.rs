//! What lowering works with: values by their ONNX names, and the graph that grows.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use headstart_graph::{
    Binary, DType, Dim, ElementKind, Expr, GraphBuilder, Init, InputSpec, Literal, Op, Shape, Tensor,
    ValueId, Weights, output_kind, output_shape,
};

use super::fold::fold;
use super::known::{Elem, Known};

/// Elements from which two equal matrices are one.
const SHARED_ELEMENTS_MIN: usize = 16;

/// What a name stands for.
#[derive(Debug, Clone)]
pub(super) enum Val {
    /// Made by a node of the graph, or an input.
    Value(ValueId),
    /// Told while reading; becomes a constant where a node needs it.
    Known(Known, Option<Arc<str>>),
    /// A large constant.
    Literal(Arc<Literal>, Arc<str>),
    /// A tensor of the file that becomes a parameter where a node needs it.
    Weight(Arc<Weight>),
}

/// A float tensor of the file.
#[derive(Debug)]
pub(super) struct Weight {
    pub(super) name: String,
    pub(super) tensor: Tensor,
    /// Every node that reads it multiplies by it from the right: it can be stored as a linear layer's weight.
    pub(super) is_right_factor: bool,
}

/// How a weight is used, which says how a network from nothing draws it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Use {
    /// Of a convolution, `[out, in/groups, ..]`.
    Convolution,
    /// Of a product, drawn by its number of inputs.
    Matrix { fan_in: usize },
    /// Multiplies what was normalised.
    Scale,
    /// Is added.
    Shift,
    /// Running statistics.
    Buffer { start: f64 },
    /// Anything else: drawn as its own numbers are spread.
    Other,
}

/// Where a parameter's bytes lie, its name, and whether it is stored transposed.
type Origin = (*const u8, String, bool);

/// The graph that grows, and what names stand for.
pub(super) struct Reader {
    pub(super) builder: GraphBuilder,
    pub(super) weights: Weights,
    pub(super) values: HashMap<String, Val>,
    pub(super) opset: i64,
    /// Values that are a parameter's transpose, and the parameter.
    pub(super) transposed: HashMap<ValueId, ValueId>,
    kinds: HashMap<ValueId, ElementKind>,
    paths: HashSet<String>,
    /// By where the bytes lie, and whether they are stored transposed: graphs inside `If` use names again.
    params: HashMap<Origin, ValueId>,
    constants: HashMap<(Vec<usize>, Vec<u8>, &'static str), ValueId>,
    /// Matrices by a hash of their content: exporters write a layer that is used twice as two initialisers.
    contents: HashMap<u64, (ValueId, Tensor)>,
    /// Weights that were computed while reading, which parameters are told apart by: they live as long.
    computed: Vec<Arc<Weight>>,
    /// Constants that became weights where something learns with them.
    constant_weights: HashMap<(Arc<str>, u64), Arc<Weight>>,
    /// Whether they do: files that we wrote say plainly what is learned.
    constants_learn: bool,
}

impl Reader {
    pub(super) fn new(name: &str, opset: i64, constants_learn: bool) -> Self {
        Reader {
            builder: GraphBuilder::new(name),
            weights: Weights::new(),
            values: HashMap::new(),
            opset,
            transposed: HashMap::new(),
            kinds: HashMap::new(),
            paths: HashSet::new(),
            params: HashMap::new(),
            constants: HashMap::new(),
            contents: HashMap::new(),
            computed: Vec::new(),
            constant_weights: HashMap::new(),
            constants_learn,
        }
    }

    /// A weight that is not in the file as it is used.
    pub(super) fn made(&mut self, name: String, tensor: Tensor, is_right_factor: bool) -> Val {
        let weight = Arc::new(Weight { name, tensor, is_right_factor });
        self.computed.push(Arc::clone(&weight));
        Val::Weight(weight)
    }

    pub(super) fn input(&mut self, name: &str, spec: InputSpec) -> ValueId {
        let kind = if spec.dtype.is_float() { ElementKind::Float } else { ElementKind::Int };
        let id = self.builder.input(name, spec);
        self.kinds.insert(id, kind);
        id
    }

    /// The dimensions of a value.
    pub(super) fn dims(&self, val: &Val) -> Vec<Dim> {
        let fixed = |shape: &[usize]| shape.iter().map(|&n| Dim::Fixed(n)).collect();
        match val {
            Val::Value(id) => self.builder.shape(*id).0.clone(),
            Val::Known(known, _) => fixed(&known.shape),
            Val::Literal(literal, _) => fixed(literal.shape()),
            Val::Weight(weight) => fixed(weight.tensor.shape()),
        }
    }

    pub(super) fn rank(&self, val: &Val) -> usize {
        self.dims(val).len()
    }

    /// Applies an operator: now if all is known, else as a node at `path`.
    pub(super) fn apply(&mut self, path: &str, op: Op, inputs: &[&Val]) -> Result<Val, String> {
        let known: Option<Vec<&Known>> =
            inputs.iter().map(|v| if let Val::Known(known, _) = v { Some(known) } else { None }).collect();
        if let Some(known) = known {
            let shapes: Vec<Shape> = known.iter().map(|k| Shape::fixed(&k.shape)).collect();
            // Checked first: folding trusts the shapes.
            output_shape(&op, &shapes.iter().collect::<Vec<_>>())?;
            if let Some(result) = fold(&op, &known) {
                return Ok(Val::Known(result, None));
            }
        }
        let ids = inputs.iter().map(|v| self.value(v)).collect::<Result<Vec<_>, _>>()?;
        self.node(path, op, &ids).map(Val::Value)
    }

    /// Adds a node; a path that is taken gets a number.
    pub(super) fn node(&mut self, path: &str, op: Op, inputs: &[ValueId]) -> Result<ValueId, String> {
        let path = self.free(path);
        let of: Vec<ElementKind> = inputs.iter().map(|id| self.kind_of(*id)).collect();
        let kind = output_kind(&op, &of)?;
        let id = self.builder.node(&path, op, inputs).map_err(|e| e.to_string())?;
        self.kinds.insert(id, kind);
        Ok(id)
    }

    fn kind_of(&self, id: ValueId) -> ElementKind {
        self.kinds.get(&id).copied().unwrap_or(ElementKind::Float)
    }

    /// What a value's elements are.
    pub(super) fn kind(&self, val: &Val) -> ElementKind {
        match val {
            Val::Value(id) => self.kind_of(*id),
            Val::Weight(_) => ElementKind::Float,
            Val::Known(known, _) => match known.elems.first() {
                Some(Elem::Float(_)) => ElementKind::Float,
                Some(Elem::Bool(_)) => ElementKind::Bool,
                _ => ElementKind::Int,
            },
            Val::Literal(literal, _) => match literal.dtype() {
                DType::F32 => ElementKind::Float,
                DType::Bool => ElementKind::Bool,
                _ => ElementKind::Int,
            },
        }
    }

    fn free(&mut self, path: &str) -> String {
        let mut free = path.to_string();
        let mut n = 1;
        while !self.paths.insert(free.clone()) {
            n += 1;
            free = format!("{path}#{n}");
        }
        free
    }

    /// The graph's value for a name's meaning; makes a constant or a parameter if there is none yet.
    pub(super) fn value(&mut self, val: &Val) -> Result<ValueId, String> {
        match val {
            Val::Value(id) => Ok(*id),
            Val::Literal(literal, name) => self.constant(literal, name),
            Val::Weight(weight) => {
                let weight = Arc::clone(weight);
                self.param(&weight, Use::Other)
            }
            Val::Known(known, name) => match known.literal() {
                Some(literal) => {
                    let name = name.clone().unwrap_or_else(|| "constant".into());
                    self.constant(&literal, &name)
                }
                None => self.sizes(known),
            },
        }
    }

    fn constant(&mut self, literal: &Literal, name: &str) -> Result<ValueId, String> {
        let tensor = literal.tensor();
        let kind = if tensor.dtype().is_float() { "f" } else { "i" };
        let kind = if tensor.dtype() == DType::Bool { "b" } else { kind };
        let key = (literal.shape().to_vec(), tensor.bytes().to_vec(), kind);
        // Small constants repeat by the hundred.
        let is_small = tensor.len() <= 64;
        if is_small && let Some(id) = self.constants.get(&key) {
            return Ok(*id);
        }
        let id = self.node(name, Op::Constant { value: literal.clone() }, &[])?;
        if is_small {
            self.constants.insert(key, id);
        }
        Ok(id)
    }

    fn sizes(&mut self, known: &Known) -> Result<ValueId, String> {
        let sizes = known
            .elems
            .iter()
            .map(|e| match e {
                Elem::Int(e) => Ok(e.clone()),
                _ => Err("integers and floats are mixed".to_string()),
            })
            .collect::<Result<Vec<_>, String>>()?;
        let id = self.signed_sizes(&sizes, known.shape.is_empty())?;
        if known.shape.len() < 2 {
            return Ok(id);
        }
        let shape = known.shape.iter().map(|&n| Dim::Fixed(n)).collect();
        self.node("sizes.shaped", Op::Reshape { shape }, &[id])
    }

    /// Whole numbers that a run gives.  A size cannot be negative, so what may be is a difference of two.
    pub(super) fn signed_sizes(&mut self, numbers: &[Expr], is_scalar: bool) -> Result<ValueId, String> {
        let dims = |of: &dyn Fn(&Expr) -> Option<Expr>| {
            let one =
                |e: &Expr| of(e).and_then(|e| e.to_dim()).ok_or_else(|| format!("the size {e} is too long"));
            numbers.iter().map(one).collect::<Result<Vec<_>, String>>()
        };
        if numbers.iter().all(|e| e.least().is_some_and(|n| n >= 0)) {
            return self.node("sizes", Op::Sizes { dims: dims(&|e| Some(e.clone()))?, is_scalar }, &[]);
        }
        let zero = Expr::number(0);
        let above = dims(&|e| e.maximum(&zero))?;
        let below = dims(&|e| zero.sub(e)?.maximum(&zero))?;
        let above = self.node("sizes.above", Op::Sizes { dims: above, is_scalar }, &[])?;
        let below = self.node("sizes.below", Op::Sizes { dims: below, is_scalar }, &[])?;
        self.node("sizes", Op::Binary { function: Binary::Sub }, &[above, below])
    }

    /// A value used as told: what becomes a parameter is drawn accordingly.
    pub(super) fn value_for(&mut self, val: &Val, usage: Use) -> Result<ValueId, String> {
        if let Val::Weight(weight) = val {
            let weight = Arc::clone(weight);
            return self.param(&weight, usage);
        }
        match self.constant_weight(val)? {
            Some(weight) => self.param(&weight, usage),
            None => self.value(val),
        }
    }

    /// Floats that a node of the file holds and another learns with: some exporters write every tensor so.
    fn constant_weight(&mut self, val: &Val) -> Result<Option<Arc<Weight>>, String> {
        let (literal, name) = match val {
            Val::Known(known, Some(name)) => (known.literal(), name),
            Val::Literal(literal, name) => (Some((**literal).clone()), name),
            _ => return Ok(None),
        };
        let Some(literal) = literal.filter(|l| self.constants_learn && l.dtype().is_float()) else {
            return Ok(None);
        };
        // Nodes of graphs inside others may be called alike.
        let key = (Arc::clone(name), content_of(literal.tensor()));
        if let Some(weight) = self.constant_weights.get(&key) {
            return Ok(Some(Arc::clone(weight)));
        }
        let weight = Arc::new(Weight {
            name: name.to_string(),
            tensor: literal.tensor().clone(),
            is_right_factor: false,
        });
        self.constant_weights.insert(key, Arc::clone(&weight));
        Ok(Some(weight))
    }

    fn param(&mut self, weight: &Weight, usage: Use) -> Result<ValueId, String> {
        let key = (weight.tensor.bytes().as_ptr(), weight.name.clone(), false);
        self.declare(key, &weight.tensor, usage)
    }

    /// The weight `[in, out]` of a product, stored `[out, in]` as linear layers have it.
    pub(super) fn transposed_param(&mut self, weight: &Weight) -> Result<ValueId, String> {
        let key = (weight.tensor.bytes().as_ptr(), weight.name.clone(), true);
        if let Some(id) = self.params.get(&key) {
            return Ok(*id);
        }
        let tensor = weight.tensor.transposed().map_err(|e| e.to_string())?;
        self.declare(key, &tensor, Use::Matrix { fan_in: tensor.shape()[1] })
    }

    fn declare(&mut self, key: Origin, tensor: &Tensor, usage: Use) -> Result<ValueId, String> {
        if let Some(id) = self.params.get(&key) {
            return Ok(*id);
        }
        let content = may_be_shared(tensor, usage).then(|| content_of(tensor));
        let same =
            content.and_then(|c| self.contents.get(&c)).filter(|(_, t)| t == tensor).map(|(id, _)| *id);
        if let Some(id) = same {
            self.params.insert(key, id);
            return Ok(id);
        }
        let mut name = key.1.clone();
        let mut n = 1;
        while self.weights.get(&name).is_some() {
            n += 1;
            name = format!("{}#{n}", key.1);
        }
        let shape = tensor.shape();
        let init = match usage {
            Use::Convolution if shape.len() > 2 => Init::fan_in_uniform(shape[1..].iter().product()),
            Use::Convolution => Init::Normal(0.02),
            Use::Matrix { fan_in } => Init::fan_in_uniform(fan_in),
            Use::Scale => Init::Constant(1.0),
            Use::Shift => Init::Constant(0.0),
            Use::Buffer { start } => Init::Constant(start),
            Use::Other => spread(tensor)?,
        };
        let made = match usage {
            Use::Buffer { .. } => self.builder.buffer(name.clone(), shape, init),
            _ => self.builder.param(name.clone(), shape, init),
        };
        let id = made.map_err(|e| e.to_string())?;
        self.weights.insert(name, tensor.clone());
        self.params.insert(key, id);
        if let Some(content) = content {
            self.contents.insert(content, (id, tensor.clone()));
        }
        Ok(id)
    }
}

/// Whether a second tensor of the same numbers is the same parameter: matrices whose numbers differ are equal by being
/// shared, not by chance.
fn may_be_shared(tensor: &Tensor, usage: Use) -> bool {
    let size = tensor.dtype().size();
    let bytes = tensor.bytes();
    tensor.shape().len() > 1
        && !matches!(usage, Use::Buffer { .. })
        && tensor.len() >= SHARED_ELEMENTS_MIN
        && bytes.chunks_exact(size).any(|c| c != &bytes[..size])
}

fn content_of(tensor: &Tensor) -> u64 {
    let mut hasher = DefaultHasher::new();
    (tensor.shape(), tensor.bytes()).hash(&mut hasher);
    hasher.finish()
}

/// Equal numbers stay equal; others are drawn as wide as they are spread.
fn spread(tensor: &Tensor) -> Result<Init, String> {
    let values = tensor.to_f32().map_err(|e| e.to_string())?;
    let n = values.len().max(1) as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
    if !mean.is_finite() || !variance.is_finite() {
        return Err("a weight is not a finite number".into());
    }
    Ok(if variance.sqrt() < 1e-6 * mean.abs() || variance == 0.0 {
        Init::Constant(mean)
    } else {
        Init::Normal((variance + mean * mean).sqrt())
    })
}
