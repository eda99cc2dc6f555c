//! Vision transformers by configuration: transformers' ViT and DeiT.
//!
//! Dosovitskiy et al., "An image is worth 16×16 words: transformers for image recognition at scale", 2021; Touvron et al.,
//! "Training data-efficient image transformers and distillation through attention", 2021.
//! `image [batch, 3, size, size]` → patches → class token (and DeiT's distillation token) before them → layers →
//! `last_hidden_state [batch, tokens, hidden]` → `features [batch, hidden]`, the class token's → `logits`.

use headstart_graph::{Attention, Conv, Graph, GraphBuilder, GraphError, Init, Op, ValueId};
use serde_json::Value;

use crate::ZooError;
use crate::bert::BertConfig;
use crate::image_head::{ImageHead, square, three_channels};
use crate::transformer::{LayerNames, LayerSpec, Net, Part};

const LAYER: LayerNames = LayerNames {
    order: [
        Part::Project(0),
        Part::Project(1),
        Part::Project(2),
        Part::Dense,
        Part::AttentionNorm,
        Part::OutputNorm,
        Part::Up,
        Part::Down,
    ],
    qkv: ["attention.q_proj", "attention.k_proj", "attention.v_proj"],
    attention: "attention",
    dense: "attention.o_proj",
    attention_norm: "layernorm_before",
    up: "mlp.fc1",
    activation: "mlp.activation_fn",
    down: "mlp.fc2",
    output_norm: "layernorm_after",
    residual: ["attention.output", "mlp"],
};

/// The graph with the head that `architectures` names.
pub(crate) fn from_json(config: &Value) -> Result<Graph, ZooError> {
    let distilled = config["model_type"].as_str() == Some("deit");
    let (class, name) = if distilled { ("DeiT", "deit") } else { ("ViT", "vit") };
    let none =
        BertConfig { hidden_dropout_prob: 0.0, attention_probs_dropout_prob: 0.0, ..BertConfig::default() };
    let c = none.over(config)?;
    three_channels(config)?;
    let (image, patch) = (square(config, "image_size", 224)?, square(config, "patch_size", 16)?);
    if !image.is_multiple_of(patch) {
        let allowed = format!("divisors of image_size {image}");
        return Err(ZooError::Config { field: "patch_size", got: patch.to_string(), allowed });
    }
    let layer = LayerSpec {
        qkv_bias: [config["qkv_bias"].as_bool() != Some(false); 3],
        attention: Attention::new(c.num_attention_heads).dropout(c.attention_probs_dropout_prob),
        ..c.layer()
    };
    let head = ImageHead::read(config, class)?;
    let mut n = c.net(name, head.prefix(name));
    let x = n.b.image("image", [3, image, image]);
    let tokens = n.patches(x, c.hidden_size, patch, image / patch, distilled)?;
    let mut x = n.drop("embeddings.dropout", tokens)?;
    for i in 0..c.num_hidden_layers {
        x = n.pre_norm_layer(&format!("layers.{i}"), &LAYER, &layer, x, &[])?;
    }
    let last = n.layer_norm("layernorm", x)?;
    Ok(finish(n, last, head, config)?)
}

fn finish(mut n: Net, last: ValueId, head: ImageHead, config: &Value) -> Result<Graph, GraphError> {
    let features = n.first_token("class_token", last)?;
    match head {
        ImageHead::Model => {
            let width = n.b.shape(features).width().unwrap_or(0);
            let out = config["pooler_output_size"].as_u64().map_or(width, |n| n as usize);
            let pooled = n.linear("pooler.dense", features, out)?;
            let pooled = n.node("pooler", Op::Tanh, &[pooled])?;
            n.b.finish([("features", features), ("last_hidden_state", last), ("pooler_output", pooled)])
        }
        ImageHead::Trunk => n.b.finish([("features", features), ("last_hidden_state", last)]),
        ImageHead::Classes(classes) => {
            let logits = n.plain_linear("classifier", features, classes)?;
            n.b.finish([("logits", logits)])
        }
        ImageHead::Teacher(classes) => {
            let distilled = n.node("distillation_token", Op::Select { axis: 1, index: 1 }, &[last])?;
            let by_class = n.plain_linear("cls_classifier", features, classes)?;
            let by_teacher = n.plain_linear("distillation_classifier", distilled, classes)?;
            let sum = n.b.node("logits.sum", Op::Add, &[by_class, by_teacher])?;
            let mean = n.b.node("logits", Op::Scale { by: 0.5 }, &[sum])?;
            n.b.finish([("logits", mean), ("cls_logits", by_class), ("distillation_logits", by_teacher)])
        }
    }
}

impl Net {
    /// Patches as tokens behind the class token, and DeiT's distillation token, plus their positions.
    fn patches(
        &mut self,
        image: ValueId,
        hidden: usize,
        patch: usize,
        side: usize,
        distilled: bool,
    ) -> Result<ValueId, GraphError> {
        let init = Init::Normal(self.std);
        let n_special = 1 + usize::from(distilled);
        let class = self.param("embeddings.cls_token", &[1, 1, hidden], init)?;
        let shape = [1, side * side + n_special, hidden];
        let positions = self.param("embeddings.position_embeddings", &shape, init)?;
        let mut tokens = vec![class];
        if distilled {
            tokens.push(self.param("embeddings.distillation_token", &[1, 1, hidden], init)?);
        }
        let path = format!("{}embeddings.patch_embeddings", self.prefix);
        tokens.push(patch_tokens(&mut self.b, &format!("{path}.projection"), image, hidden, patch, init)?);
        let tokens = self.node("embeddings.concat", Op::Concat { axis: 1 }, &tokens)?;
        self.node("embeddings.add_position", Op::Add, &[tokens, positions])
    }
}

/// A convolution whose windows do not overlap, `[batch, patches, hidden]`.
pub(crate) fn patch_tokens(
    b: &mut GraphBuilder,
    path: &str,
    image: ValueId,
    hidden: usize,
    patch: usize,
    init: Init,
) -> Result<ValueId, GraphError> {
    let x = b.conv(path, image, Conv::new(hidden, patch).stride(patch).init(init))?;
    let x = b.node(&format!("{path}.flatten"), Op::Flatten { start: 2 }, &[x])?;
    b.node(&format!("{path}.transpose"), Op::Transpose { perm: vec![0, 2, 1] }, &[x])
}
