//! What the transformer families share: a builder that knows the prefix, the initial distribution and the dropout, and
//! the layer that attends and then feeds forward, under the names that each family gives its parts.

use headstart_graph::{Attention, GraphBuilder, GraphError, Init, Op, ValueId};

use crate::activation::HiddenAct;

/// A builder of one network.  Paths are given without the prefix.
pub(crate) struct Net {
    /// The graph so far; its methods take whole paths.
    pub(crate) b: GraphBuilder,
    /// `bert.` where the trunk stands inside another model, else empty.
    pub(crate) prefix: String,
    /// Standard deviation of initial weights.
    pub(crate) std: f64,
    /// Added to the variance in layer norms.
    pub(crate) eps: f64,
    /// Probability of the dropout after parts.
    pub(crate) dropout: f64,
}

/// A part of a layer that has parameters.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    /// Query, key or value: 0, 1, 2.
    Project(usize),
    Dense,
    AttentionNorm,
    Up,
    Down,
    OutputNorm,
}

/// The order in which most families' state dicts list a layer.
pub(crate) const USUAL_ORDER: [Part; 8] = [
    Part::Project(0),
    Part::Project(1),
    Part::Project(2),
    Part::Dense,
    Part::AttentionNorm,
    Part::Up,
    Part::Down,
    Part::OutputNorm,
];

/// What a layer calls its parts, below its own path, and in which order its state dict lists them.
pub(crate) struct LayerNames {
    pub(crate) order: [Part; 8],
    pub(crate) qkv: [&'static str; 3],
    pub(crate) attention: &'static str,
    pub(crate) dense: &'static str,
    pub(crate) attention_norm: &'static str,
    pub(crate) up: &'static str,
    pub(crate) activation: &'static str,
    pub(crate) down: &'static str,
    pub(crate) output_norm: &'static str,
    /// Where dropout and addition after attention and after the feed-forward part stand.
    pub(crate) residual: [&'static str; 2],
}

/// Widths and settings of a layer.
#[derive(Clone, Copy)]
pub(crate) struct LayerSpec {
    pub(crate) hidden: usize,
    pub(crate) intermediate: usize,
    pub(crate) attention: Attention,
    pub(crate) act: HiddenAct,
    /// Whether query, key and value have biases.
    pub(crate) qkv_bias: [bool; 3],
    /// Dropout behind the nonlinearity.
    pub(crate) activation_dropout: f64,
    /// Dropout behind attention and behind the feed-forward part.
    pub(crate) residual_dropout: [f64; 2],
}

/// A window over `[batch, channels, length]`.
pub(crate) fn conv1d(stride: usize, padding: [usize; 2], groups: usize) -> Op {
    Op::ConvNd { stride: vec![stride], padding: vec![padding], dilation: vec![1], groups }
}

impl Net {
    /// Input ids and attention mask, `[batch, sequence]`.
    pub(crate) fn text_inputs(&mut self) -> [ValueId; 2] {
        [self.b.ids("input_ids", None), self.b.ids("attention_mask", Some(1))]
    }

    pub(crate) fn node(&mut self, path: &str, op: Op, inputs: &[ValueId]) -> Result<ValueId, GraphError> {
        self.b.node(&format!("{}{path}", self.prefix), op, inputs)
    }

    /// A linear layer with a bias.
    pub(crate) fn linear(&mut self, path: &str, x: ValueId, out: usize) -> Result<ValueId, GraphError> {
        let path = format!("{}{path}", self.prefix);
        self.plain_linear(&path, x, out)
    }

    /// A linear layer outside the trunk: its name has no prefix.
    pub(crate) fn plain_linear(&mut self, path: &str, x: ValueId, out: usize) -> Result<ValueId, GraphError> {
        self.b.linear_init(path, x, out, Init::Normal(self.std), Init::Constant(0.0))
    }

    /// A linear layer without a bias, drawn from `init`.
    pub(crate) fn linear_no_bias(
        &mut self,
        path: &str,
        x: ValueId,
        out: usize,
        init: Init,
    ) -> Result<ValueId, GraphError> {
        let width = self.b.shape(x).width().unwrap_or(0);
        let weight = self.param(&format!("{path}.weight"), &[out, width], init)?;
        self.node(path, Op::Linear, &[x, weight])
    }

    pub(crate) fn layer_norm(&mut self, path: &str, x: ValueId) -> Result<ValueId, GraphError> {
        self.b.layer_norm(&format!("{}{path}", self.prefix), x, self.eps)
    }

    /// Declares a layer norm ahead of its use.
    pub(crate) fn declare_layer_norm(&mut self, path: &str, width: usize) -> Result<(), GraphError> {
        let path = format!("{}{path}", self.prefix);
        self.b.reserve(format!("{path}.weight"), &[width], Init::Constant(1.0))?;
        self.b.reserve(format!("{path}.bias"), &[width], Init::Constant(0.0)).map(|_| ())
    }

    /// The network's dropout; no node if there is none.
    pub(crate) fn drop(&mut self, path: &str, x: ValueId) -> Result<ValueId, GraphError> {
        let path = format!("{}{path}", self.prefix);
        self.plain_drop(&path, x, self.dropout)
    }

    /// Dropout outside the trunk.
    pub(crate) fn plain_drop(&mut self, path: &str, x: ValueId, p: f64) -> Result<ValueId, GraphError> {
        if p > 0.0 { self.b.node(path, Op::Dropout { p }, &[x]) } else { Ok(x) }
    }

    pub(crate) fn param(&mut self, name: &str, shape: &[usize], init: Init) -> Result<ValueId, GraphError> {
        self.b.param(format!("{}{name}", self.prefix), shape, init)
    }

    /// A table `<path>.weight [rows, width]`.
    pub(crate) fn table(&mut self, path: &str, rows: usize, width: usize) -> Result<ValueId, GraphError> {
        self.param(&format!("{path}.weight"), &[rows, width], Init::Normal(self.std))
    }

    /// The sum of what token, segment and position say, each a table and its ids; positions are counted by `at`.
    /// Nodes and their order are BERT's.
    pub(crate) fn embeddings(
        &mut self,
        [word, segment, position]: [Option<(ValueId, ValueId)>; 3],
        at: Op,
    ) -> Result<ValueId, GraphError> {
        let mut sum = None;
        for (name, pair) in [("word", word), ("token_type", segment), ("position", position)] {
            let Some((table, mut ids)) = pair else { continue };
            if name == "position" {
                ids = self.node("embeddings.position_ids", at.clone(), &[ids])?;
            }
            let path = format!("embeddings.{name}_embeddings");
            let rows = self.node(&path, Op::Embedding, &[table, ids])?;
            sum = Some(match sum {
                None => rows,
                Some(x) => self.node(&format!("embeddings.add_{name}"), Op::Add, &[x, rows])?,
            });
        }
        Ok(sum.expect("every family embeds its tokens"))
    }

    /// The first token's vector through `<path>.dense` and tanh.
    pub(crate) fn pooler(&mut self, path: &str, tokens: ValueId) -> Result<ValueId, GraphError> {
        let x = self.node(&format!("{path}.first_token"), Op::Select { axis: 1, index: 0 }, &[tokens])?;
        let width = self.b.shape(x).width().unwrap_or(0);
        let x = self.linear(&format!("{path}.dense"), x, width)?;
        self.node(path, Op::Tanh, &[x])
    }

    /// Attention, then a feed-forward part, each added to its input and normalised after (Vaswani et al., 2017).
    pub(crate) fn post_norm_layer(
        &mut self,
        path: &str,
        names: &LayerNames,
        spec: &LayerSpec,
        x: ValueId,
        masks: &[ValueId],
    ) -> Result<ValueId, GraphError> {
        let at = |part: &str| format!("{path}.{part}");
        self.declare(path, names, spec)?;
        let y = self.attend(path, names, spec, x, masks)?;
        let x = self.add(&at(names.residual[0]), x, y, spec.residual_dropout[0])?;
        let x = self.layer_norm(&at(names.attention_norm), x)?;
        let y = self.feed_forward(path, names, spec, x)?;
        let x = self.add(&at(names.residual[1]), x, y, spec.residual_dropout[1])?;
        self.layer_norm(&at(names.output_norm), x)
    }

    /// The same with each part's input normalised instead of its output (Xiong et al., 2020).
    pub(crate) fn pre_norm_layer(
        &mut self,
        path: &str,
        names: &LayerNames,
        spec: &LayerSpec,
        x: ValueId,
        masks: &[ValueId],
    ) -> Result<ValueId, GraphError> {
        let at = |part: &str| format!("{path}.{part}");
        self.declare(path, names, spec)?;
        let y = self.layer_norm(&at(names.attention_norm), x)?;
        let y = self.attend(path, names, spec, y, masks)?;
        let x = self.add(&at(names.residual[0]), x, y, spec.residual_dropout[0])?;
        let y = self.layer_norm(&at(names.output_norm), x)?;
        let y = self.feed_forward(path, names, spec, y)?;
        self.add(&at(names.residual[1]), x, y, spec.residual_dropout[1])
    }

    /// Declares the layer's parameters in the state dict's order; again is the same as once.
    pub(crate) fn declare(
        &mut self,
        path: &str,
        names: &LayerNames,
        spec: &LayerSpec,
    ) -> Result<(), GraphError> {
        let (hidden, inner) = (spec.hidden, spec.intermediate);
        for part in names.order {
            let (name, shape, bias) = match part {
                Part::Project(i) => (names.qkv[i], vec![hidden, hidden], spec.qkv_bias[i]),
                Part::Dense => (names.dense, vec![hidden, hidden], true),
                Part::AttentionNorm => (names.attention_norm, vec![hidden], true),
                Part::Up => (names.up, vec![inner, hidden], true),
                Part::Down => (names.down, vec![hidden, inner], true),
                Part::OutputNorm => (names.output_norm, vec![hidden], true),
            };
            let init = if shape.len() == 1 { Init::Constant(1.0) } else { Init::Normal(self.std) };
            let path = format!("{}{path}.{name}", self.prefix);
            self.b.reserve(format!("{path}.weight"), &shape, init)?;
            if bias {
                self.b.reserve(format!("{path}.bias"), &shape[..1], Init::Constant(0.0))?;
            }
        }
        Ok(())
    }

    /// Query, key and value of `x`, attention, and the dense layer behind it.
    pub(crate) fn attend(
        &mut self,
        path: &str,
        names: &LayerNames,
        spec: &LayerSpec,
        x: ValueId,
        masks: &[ValueId],
    ) -> Result<ValueId, GraphError> {
        let at = |part: &str| format!("{path}.{part}");
        let mut inputs = Vec::with_capacity(3 + masks.len());
        for (part, bias) in names.qkv.iter().zip(spec.qkv_bias) {
            inputs.push(if bias {
                self.linear(&at(part), x, spec.hidden)?
            } else {
                self.linear_no_bias(&at(part), x, spec.hidden, Init::Normal(self.std))?
            });
        }
        inputs.extend(masks);
        let y = self.node(&at(names.attention), Op::Attention(spec.attention), &inputs)?;
        self.linear(&at(names.dense), y, spec.hidden)
    }

    pub(crate) fn feed_forward(
        &mut self,
        path: &str,
        names: &LayerNames,
        spec: &LayerSpec,
        x: ValueId,
    ) -> Result<ValueId, GraphError> {
        let at = |part: &str| format!("{path}.{part}");
        let y = self.linear(&at(names.up), x, spec.intermediate)?;
        let y = self.node(&at(names.activation), spec.act.op(), &[y])?;
        let inside = format!("{}{}.dropout", self.prefix, at(names.activation));
        let y = self.plain_drop(&inside, y, spec.activation_dropout)?;
        self.linear(&at(names.down), y, spec.hidden)
    }

    /// `x + dropout(y)`.
    pub(crate) fn add(&mut self, path: &str, x: ValueId, y: ValueId, p: f64) -> Result<ValueId, GraphError> {
        let y = self.plain_drop(&format!("{}{path}.dropout", self.prefix), y, p)?;
        self.node(&format!("{path}.add"), Op::Add, &[y, x])
    }
}
