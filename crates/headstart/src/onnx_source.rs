//! An ONNX file as a source: its preprocessing is found beside it, inside it, or named; it is never guessed.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use headstart_formats::onnx::{self, OnnxModel, OnnxOptions};
use headstart_formats::{AssignRules, assign};
use headstart_graph::rewrite::{self, PictureLayout};
use headstart_graph::{Card, Filter, Graph, ImagePreprocess, Model, Preprocess, Resize, TextPreprocess};

use crate::Error;
use crate::source::{Source, SourceOptions};

/// Metadata of a file: names of its classes, as JSON.
pub(crate) const LABELS_KEY: &str = "headstart.labels";
/// Metadata of a file: its preprocessing, as JSON.
pub(crate) const PREPROCESS_KEY: &str = "headstart.preprocess";
/// Normalisations by name: what it is, mean, standard deviation.
const PRESETS: [(&str, [f32; 3], [f32; 3]); 4] = [
    ("imagenet", ImagePreprocess::IMAGENET_MEAN, ImagePreprocess::IMAGENET_STD),
    ("inception", [0.5; 3], [0.5; 3]),
    ("clip", [0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_55, 0.261_302_6, 0.275_777_1]),
    ("unit", [0.0; 3], [1.0; 3]),
];
/// Longest text where nothing says it, tokens.
const LENGTH_MAX: usize = 128;

/// Whether a file begins like an ONNX network.
pub(crate) fn is_onnx(path: &Path) -> Result<bool, Error> {
    let mut start = Vec::new();
    let file = std::fs::File::open(path).map_err(Error::io(path))?;
    file.take(16).read_to_end(&mut start).map_err(Error::io(path))?;
    Ok(onnx::looks_like(&start))
}

/// Opens a network; its image input is called `image` from here on.
pub(crate) fn open(path: &Path, mut card: Card, options: &SourceOptions) -> Result<Source, Error> {
    let model = onnx::load(path, &OnnxOptions { fixed: options.fixed.clone() })?;
    let metadata = |key: &str| model.metadata.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
    let preprocess = preprocess(path, &model, options, metadata(PREPROCESS_KEY))?;
    let labels = metadata(LABELS_KEY).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    if let Some(licence) = metadata("headstart.licence").and_then(|json| serde_json::from_str(json).ok()) {
        card.licence = licence;
    }
    card.architecture = model.graph.name().into();
    let graph = fitted(path, model.graph, &preprocess)?;
    let tokenizer = match preprocess {
        Preprocess::Text(_) => {
            let file = path.with_file_name("tokenizer.json");
            Some(std::fs::read(&file).map_err(Error::io(&file))?.into())
        }
        Preprocess::Image(_) => None,
    };
    let (weights, report) = assign(&graph, model.weights, &AssignRules::default())?;
    let model = Model { graph, weights, preprocess, tokenizer, labels, card };
    model.check()?;
    Ok(Source { model, report })
}

/// From `--preprocess`, else from a file beside the network, else from its metadata.
fn preprocess(
    path: &Path,
    model: &OnnxModel,
    options: &SourceOptions,
    metadata: Option<&str>,
) -> Result<Preprocess, Error> {
    if let Some(name) = &options.preprocess {
        return named(path, &model.graph, name);
    }
    let beside: Vec<PathBuf> =
        ["preprocess.json", "preprocess.toml"].iter().map(|ending| path.with_extension(ending)).collect();
    if let Some(file) = beside.iter().find(|f| f.is_file()) {
        return from_file(file);
    }
    if let Some(json) = metadata {
        return serde_json::from_str(json).map_err(|e| {
            Error::request(
                format!("{}: its metadata `{PREPROCESS_KEY}` is no preprocessing: {e}", path.display()),
                "name one with --preprocess",
            )
        });
    }
    let presets = PRESETS.map(|(name, ..)| name).join(", ");
    let names: Vec<String> = beside.iter().map(|f| f.display().to_string()).collect();
    Err(Error::request(
        format!(
            "{} does not say how pictures or texts become its input, and there is neither {}",
            path.display(),
            names.join(" nor ")
        ),
        format!(
            "pass --preprocess: {presets} (normalisation of pictures), text (tokenizer.json beside it), or a JSON or TOML file"
        ),
    ))
}

/// A preset, or a file.
fn named(path: &Path, graph: &Graph, name: &str) -> Result<Preprocess, Error> {
    if name == "text" {
        return Ok(Preprocess::Text(TextPreprocess { length_max: LENGTH_MAX }));
    }
    if let Some((_, mean, std)) = PRESETS.iter().find(|(n, ..)| *n == name) {
        let size_px = image_size(path, graph)?;
        // As torchvision evaluates: the middle 7/8 of the shorter side.
        let resize = Resize::ShorterThenCrop { shorter_px: (size_px[0].max(size_px[1]) * 8).div_ceil(7) };
        let filter = Filter::Bilinear;
        return Ok(Preprocess::Image(ImagePreprocess { size_px, resize, filter, mean: *mean, std: *std }));
    }
    let file = Path::new(name);
    if file.is_file() {
        return from_file(file);
    }
    let presets = PRESETS.map(|(name, ..)| name).join(", ");
    Err(Error::request(
        format!("there is no preprocessing `{name}` ({presets}, text, or a JSON or TOML file)"),
        "for example `--preprocess imagenet`",
    ))
}

fn from_file(file: &Path) -> Result<Preprocess, Error> {
    let text = std::fs::read_to_string(file).map_err(Error::io(file))?;
    let is_toml = file.extension().is_some_and(|e| e == "toml");
    let read = if is_toml {
        toml::from_str(&text).map_err(|e| e.to_string())
    } else {
        serde_json::from_str(&text).map_err(|e| e.to_string())
    };
    read.map_err(|e| {
        Error::request(
            format!("{} is no preprocessing: {e}", file.display()),
            r#"for example {"modality": "image", "size_px": [224, 224], "resize": "squash", "filter": "bilinear", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}"#,
        )
    })
}

/// Height and width of the image input; 224 where the network takes any.
fn image_size(path: &Path, graph: &Graph) -> Result<[usize; 2], Error> {
    let (name, spec, layout) = image_input(path, graph)?;
    let [height, width] = layout.size_axes();
    match (spec.shape.known(height), spec.shape.known(width)) {
        (Some(h), Some(w)) => Ok([h, w]),
        (None, None) => Ok([224, 224]),
        _ => Err(Error::request(
            format!("{}: input `{name}` is {}, of which only one side is known", path.display(), spec.shape),
            "fix the other one with --fix NAME=N",
        )),
    }
}

/// The one input, its shape, and how it holds pictures.
fn image_input<'a>(
    path: &Path,
    graph: &'a Graph,
) -> Result<(&'a str, &'a headstart_graph::InputSpec, PictureLayout), Error> {
    let of = |(_, name, spec): (_, &'a str, &'a headstart_graph::InputSpec)| {
        Some((name, spec, PictureLayout::of(&spec.shape).filter(|_| spec.dtype.is_float())?))
    };
    let mut images = graph.inputs().filter_map(of);
    match (images.next(), images.next(), graph.inputs().count()) {
        (Some(image), None, 1) => Ok(image),
        _ => Err(Error::request(
            format!("{} takes {}, not one picture, coloured or grey", path.display(), inputs(graph)),
            "networks that read other things are not sources yet; `headstart features` of pictures and texts are",
        )),
    }
}

fn inputs(graph: &Graph) -> String {
    graph
        .inputs()
        .map(|(_, name, s)| format!("`{name}` {} {}", s.dtype, s.shape))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The graph with the inputs that preprocessing feeds.
fn fitted(path: &Path, graph: Graph, preprocess: &Preprocess) -> Result<Graph, Error> {
    match preprocess {
        Preprocess::Image(image) => {
            let (name, spec, layout) = image_input(path, &graph)?;
            let known = layout.size_axes().map(|axis| spec.shape.known(axis));
            if known.iter().zip(image.size_px).any(|(known, want)| known.is_some_and(|n| n != want)) {
                return Err(Error::request(
                    format!(
                        "{} takes pictures of {}, its preprocessing makes {:?}",
                        path.display(),
                        spec.shape,
                        image.size_px
                    ),
                    "name a preprocessing of that size",
                ));
            }
            let graph = rewrite::take_pictures(&graph, name, layout)?;
            // A network for any size is one for this size.
            if known[0].is_none() { Ok(rewrite::resize(&graph, image.size_px)?) } else { Ok(graph) }
        }
        Preprocess::Text(_) => {
            let known = ["input_ids", "attention_mask", "token_type_ids"];
            if graph.inputs().all(|(_, name, _)| known.contains(&name)) {
                return Ok(graph);
            }
            Err(Error::request(
                format!(
                    "{} takes {}; of texts are made {}",
                    path.display(),
                    inputs(&graph),
                    known.join(", ")
                ),
                "export it with inputs of these names",
            ))
        }
    }
}
