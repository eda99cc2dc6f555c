//! Folders in the hub's layout: `config.json`, weights, tokenizer or `preprocessor_config.json`, and the modules of a
//! sentence encoder.

use std::collections::HashSet;
use std::path::Path;

use headstart_formats::{DenseModule, HfFolder, Pooling, SentenceModule, load_weights};
use headstart_graph::{
    Card, Graph, GraphBuilder, GraphError, Init, Op, Output, Preprocess, TextPreprocess, ValueId, Weights,
    rewrite,
};
use headstart_zoo::{Configured, image_processor, is_bookkeeping, name_in_graph};

use crate::Error;
use crate::source::{Source, load};

/// Reads a folder.
pub(crate) fn open(dir: &Path, card: Card) -> Result<Source, Error> {
    let folder = HfFolder::open(dir)?;
    let weights = folder.load_weights()?;
    assemble(&folder, weights, &Weights::new(), card)
}

/// The network of a folder that was read, with its tensors; those of `instead` take the place of some of them.
pub(crate) fn assemble(
    folder: &HfFolder,
    mut weights: Weights,
    instead: &Weights,
    mut card: Card,
) -> Result<Source, Error> {
    let Configured { mut graph, preprocess, rename, .. } = headstart_zoo::from_config(&folder.config)?;
    card.architecture = graph.name().into();
    if let Some(licence) = folder.config["license"].as_str() {
        card.licence = licence.into();
    }
    card.config = Some(folder.config.clone());
    let preprocess = match preprocess {
        Some(Preprocess::Text(text)) => {
            let length_max = [folder.max_seq_length, folder.model_max_length, Some(text.length_max)];
            let length_max = length_max.into_iter().flatten().min().unwrap_or(text.length_max);
            graph = sentence_features(graph, folder, &mut weights)?;
            Preprocess::Text(TextPreprocess { length_max })
        }
        Some(known) => known,
        None => {
            let (resized, preprocess) = pictures(graph, folder)?;
            graph = resized;
            preprocess
        }
    };
    if !instead.is_empty() {
        weights = replaced(&graph, rename.apply(&graph, weights)?, instead)?;
    }
    load(graph, weights, rename, preprocess, folder.tokenizer_path.clone(), card)
}

/// Puts tensors in the place of others, under the graph's names.
fn replaced(graph: &Graph, mut weights: Weights, instead: &Weights) -> Result<Weights, Error> {
    let known: HashSet<&str> = graph.params().map(|(_, name, _)| name).collect();
    let mut nowhere = Vec::new();
    for (file, tensor) in instead.iter().filter(|(name, _)| !is_bookkeeping(name)) {
        let name = name_in_graph(graph, file);
        if known.contains(name.as_str()) {
            weights.insert(name, tensor.clone());
        } else {
            nowhere.push(format!("`{file}`"));
        }
    }
    if nowhere.is_empty() {
        return Ok(weights);
    }
    let (shown, n) = (nowhere.iter().take(8).cloned().collect::<Vec<_>>().join(", "), nowhere.len());
    Err(Error::request(
        format!("the adapter replaces {n} tensors that the network does not have: {shown}"),
        "the adapter was made for another network, or for another class of it",
    ))
}

/// What `preprocessor_config.json` says of pictures, and the graph for pictures of that size.
fn pictures(graph: Graph, folder: &HfFolder) -> Result<(Graph, Preprocess), Error> {
    let dir = folder.dir.display();
    if !graph.inputs().any(|(_, name, _)| name == "image") {
        let reads: Vec<&str> = graph.inputs().map(|(_, name, _)| name).collect();
        return Err(Error::request(
            format!("{dir} holds a network that reads `{}`: sound is not prepared yet", reads.join("`, `")),
            "choose a network that reads texts or pictures",
        ));
    }
    let Some(config) = &folder.preprocessor else {
        return Err(Error::request(
            format!("{dir} has no preprocessor_config.json, so nobody knows how its pictures are prepared"),
            "fetch the whole folder, or write the file that its reference publishes beside it",
        ));
    };
    let image = image_processor(config)?;
    let resized = rewrite::resize(&graph, image.size_px).map_err(|e| {
        Error::request(
            format!(
                "{dir}: preprocessor_config.json makes pictures of {:?} pixels, which the network cannot take: {e}",
                image.size_px
            ),
            "the sizes of config.json and preprocessor_config.json must agree",
        )
    })?;
    Ok((resized, Preprocess::Image(image)))
}

/// A sentence encoder's `modules.json` says how tokens become one vector, and what is done with it.
fn sentence_features(graph: Graph, folder: &HfFolder, weights: &mut Weights) -> Result<Graph, Error> {
    let tokens = graph.outputs().iter().find(|o| o.name == "last_hidden_state").map(|o| o.value);
    let (Some(mut value), false) = (tokens, folder.modules.is_empty()) else { return Ok(graph) };
    let mut graph = graph;
    for (i, module) in folder.modules.iter().enumerate() {
        let is_vector = graph.value(value).shape.rank() == 2;
        (graph, value) = match module {
            SentenceModule::Pooling(pooling) if !is_vector => pooled(&graph, *pooling, value)?,
            SentenceModule::Dense(dense) if is_vector => {
                for (name, tensor) in load_weights(&dense.weights_path)?.iter() {
                    weights.insert(format!("{}.{name}", dense.name), tensor.clone());
                }
                let act = activation(dense)?;
                rewrite::extend(&graph, |b| dense_layer(b, dense, act, value))?
            }
            SentenceModule::Normalize => {
                let path =
                    if i + 1 == folder.modules.len() { "normalise".into() } else { format!("normalise.{i}") };
                rewrite::append(&graph, &path, Op::L2Normalize, value, None)?
            }
            other => {
                let name = match other {
                    SentenceModule::Other(class) => class.as_str(),
                    SentenceModule::Dense(_) => "Dense before Pooling",
                    _ => "Pooling twice",
                };
                return Err(Error::request(
                    format!("the folder's modules.json has a module `{name}`, which is not supported"),
                    "choose a sentence encoder of Transformer, Pooling, Dense and Normalize modules",
                ));
            }
        };
    }
    let mut outputs = vec![Output { name: "features".into(), value }];
    outputs.extend(graph.outputs().iter().cloned());
    Ok(rewrite::cut_at(&graph, &outputs)?)
}

fn pooled(graph: &Graph, pooling: Pooling, tokens: ValueId) -> Result<(Graph, ValueId), GraphError> {
    let (op, mask) = match pooling {
        Pooling::Mean => (Op::MaskedMean, Some("attention_mask")),
        Pooling::Max => (Op::MaskedMax, Some("attention_mask")),
        Pooling::Cls => (Op::Select { axis: 1, index: 0 }, None),
    };
    rewrite::append(graph, "pooling", op, tokens, mask)
}

fn activation(dense: &DenseModule) -> Result<Option<Op>, Error> {
    match dense.activation.as_str() {
        "Identity" => Ok(None),
        "Tanh" => Ok(Some(Op::Tanh)),
        "ReLU" => Ok(Some(Op::Relu)),
        "GELU" => Ok(Some(Op::Gelu { tanh: false })),
        "Sigmoid" => Ok(Some(Op::Sigmoid)),
        other => Err(Error::request(
            format!("the Dense module `{}` has the activation `{other}`, which is not supported", dense.name),
            "known are Identity, Tanh, ReLU, GELU and Sigmoid",
        )),
    }
}

fn dense_layer(
    b: &mut GraphBuilder,
    dense: &DenseModule,
    act: Option<Op>,
    x: ValueId,
) -> Result<ValueId, GraphError> {
    let width = b.shape(x).width().unwrap_or(0);
    let (path, init) = (format!("{}.linear", dense.name), Init::fan_in_uniform(width));
    let mut inputs = vec![x, b.param(format!("{path}.weight"), &[dense.out_features, width], init)?];
    if dense.bias {
        inputs.push(b.param(format!("{path}.bias"), &[dense.out_features], init)?);
    }
    let y = b.node(&path, Op::Linear, &inputs)?;
    match act {
        Some(act) => b.node(&format!("{}.activation", dense.name), act, &[y]),
        None => Ok(y),
    }
}
