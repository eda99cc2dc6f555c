//! Files of which one node is changed at random: an error or a network, never a panic.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use headstart_graph::{Dim, ElementKind, Shape};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use prost::Message as _;
use regex::Regex;

use super::super::super::proto::{Attribute, Model, Tensor};
use super::super::super::write::value_info;
use super::super::super::{OnnxOptions, read};
use super::super::SUPPORTED;

fn with_extension(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == extension));
    paths.sort();
    paths
}

/// The settings that lowering asks for, by its own text: one that is new is drawn too.
static SETTINGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let asked =
        Regex::new(r#"\bn\.(?:axis|flag|floats?|has|ints?|sizes|strings?|tensor)\(\s*"(\w+)""#).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/onnx/lower");
    let mut names: BTreeSet<String> = ["axes".to_string()].into();
    for path in with_extension(&folder, "rs") {
        let text = std::fs::read_to_string(path).unwrap();
        names.extend(asked.captures_iter(&text).map(|found| found[1].to_string()));
    }
    names.into_iter().collect()
});

/// Words that settings may be.
const WORDS: [&str; 30] = [
    "",
    "...ij,...jk->...ik",
    "CRD",
    "LINEAR",
    "SAME_LOWER",
    "SAME_UPPER",
    "VALID",
    "add",
    "align_corners",
    "asymmetric",
    "bhqd,bhkd->bhqk",
    "bidirectional",
    "border",
    "ceil",
    "cubic",
    "edge",
    "floor",
    "half_pixel",
    "ij,jk->ik",
    "linear",
    "nearest",
    "not_larger",
    "pytorch_half_pixel",
    "reflect",
    "reflection",
    "reverse",
    "tanh",
    "tf_crop_and_resize",
    "wrap",
    "zeros",
];

/// Mostly numbers that settings have, now and then none that any has.
fn whole() -> impl Strategy<Value = i64> {
    let extreme = vec![i64::MIN, i64::MIN + 1, -1 << 32, 1 << 32, i64::MAX - 1, i64::MAX];
    prop_oneof![24 => -3..8_i64, 1 => select(extreme)]
}

fn real() -> impl Strategy<Value = f32> {
    prop_oneof![8 => (-8..9_i8).prop_map(|n| f32::from(n) / 2.0), 1 => any::<f32>()]
}

/// What an array holds: ONNX's type, how many bytes an element has, and numbers that repeat.
type Content = ((i32, usize), Vec<i64>);

fn content() -> impl Strategy<Value = Content> {
    let others = vec![(2, 1), (3, 1), (6, 4), (7, 8), (7, 8), (9, 1), (10, 2), (11, 8)];
    let kinds = prop_oneof![2 => Just((1, 4)), 1 => select(others)];
    (kinds, prop::collection::vec(whole(), 1..9))
}

fn tensor(name: String, dims: &[i64], ((data_type, size), values): Content) -> Tensor {
    let one = |v: i64| match data_type {
        1 => (v as f32).to_le_bytes().to_vec(),
        9 => vec![u8::from(v > 0)],
        11 => (v as f64).to_le_bytes().to_vec(),
        _ => v.to_le_bytes()[..size].to_vec(),
    };
    let n = dims.iter().product::<i64>() as usize;
    let raw: Vec<u8> = values.iter().cycle().take(n).flat_map(|v| one(*v)).collect();
    Tensor { name, dims: dims.to_vec(), data_type, raw_data: raw.into(), ..Tensor::default() }
}

fn shape() -> impl Strategy<Value = Vec<i64>> {
    prop::collection::vec(prop_oneof![8 => Just(2), 4 => select(vec![1, 3, 4, 6]), 1 => Just(0)], 0..5)
}

/// A setting of every type at once: each reader takes its own.
fn setting() -> impl Strategy<Value = Attribute> {
    let ints = prop::collection::vec(whole(), 0..9);
    let words = prop::collection::vec(select(&WORDS[..]), 1..3);
    let floats = prop::collection::vec(real(), 1..4);
    let t = prop::option::weighted(0.1, (shape(), content()));
    (select(&SETTINGS[..]), whole(), ints, floats, words, t).prop_map(|(name, i, ints, floats, words, t)| {
        let words: Vec<bytes::Bytes> = words.iter().map(|w| w.as_bytes().into()).collect();
        Attribute {
            name,
            i,
            ints,
            f: floats[0],
            floats,
            s: words[0].clone(),
            strings: words,
            t: t.map(|(dims, content)| tensor(String::new(), &dims, content)),
            ..Attribute::default()
        }
    })
}

/// What makes a node of a file another one.
#[derive(Debug, Clone)]
enum Change {
    /// An input comes from somewhere else, or is left out.
    Input { at: Index, from: Option<Index> },
    /// It is another operator.
    Operator(&'static str),
    /// A setting has other values, or there is one more.
    Setting { at: Option<Index>, with: Box<Attribute> },
    /// There is one setting less.
    Default(Index),
    /// An input is a weight of its own.
    Weight { at: Index, dims: Vec<i64>, content: Content },
    /// An input is one of the network; an axis may have a name.
    Given { at: Index, dims: Vec<i64>, kind: ElementKind, symbol: Option<usize> },
    /// All operators are of another version.
    Version(i64),
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<Index>;
    let kinds = vec![ElementKind::Float, ElementKind::Float, ElementKind::Int, ElementKind::Bool];
    prop_oneof![
        3 => (index(), prop::option::weighted(0.8, index())).prop_map(|(at, from)| Change::Input { at, from }),
        1 => select(SUPPORTED).prop_map(Change::Operator),
        3 => (prop::option::weighted(0.7, index()), setting())
            .prop_map(|(at, with)| Change::Setting { at, with: with.into() }),
        1 => index().prop_map(Change::Default),
        3 => (index(), shape(), content()).prop_map(|(at, dims, content)| Change::Weight { at, dims, content }),
        3 => (index(), shape(), select(kinds), prop::option::weighted(0.3, 0..4_usize))
            .prop_map(|(at, dims, kind, symbol)| Change::Given { at, dims, kind, symbol }),
        1 => select(vec![7, 9, 11, 13, 17, 18, 21, 23]).prop_map(Change::Version),
    ]
}

/// One of a list, if it has any.
fn one<'a, T>(of: &'a mut [T], at: &Index) -> Option<&'a mut T> {
    (!of.is_empty()).then(|| &mut of[at.index(of.len())])
}

impl Change {
    /// Makes it at a node, if it can be made there; `name` is one that nothing has.
    fn apply(&self, model: &mut Model, node: usize, name: String) -> Option<()> {
        let graph = model.graph.as_mut()?;
        let names: Vec<String> = (graph.input.iter().map(|x| &x.name))
            .chain(graph.initializer.iter().map(|w| &w.name))
            .chain(graph.node.iter().flat_map(|n| &n.output))
            .cloned()
            .collect();
        let node = &mut graph.node[node];
        match self {
            Change::Input { at, from } => {
                *one(&mut node.input, at)? = from.map_or(String::new(), |from| from.get(&names).clone());
            }
            Change::Operator(name) => node.op_type = name.to_string(),
            Change::Setting { at, with } => match at.and_then(|at| one(&mut node.attribute, &at)) {
                Some(setting) => *setting = Attribute { name: setting.name.clone(), ..(**with).clone() },
                None => node.attribute.push((**with).clone()),
            },
            Change::Default(at) => {
                let name = one(&mut node.attribute, at)?.name.clone();
                node.attribute.retain(|a| a.name != name);
            }
            Change::Weight { at, dims, content } => {
                *one(&mut node.input, at)? = name.clone();
                graph.initializer.push(tensor(name, dims, content.clone()));
            }
            Change::Given { at, dims, kind, symbol } => {
                let mut shape = Shape(dims.iter().map(|&n| Dim::Fixed(n as usize)).collect());
                if let Some(dim) = symbol.and_then(|at| shape.0.get_mut(at)) {
                    *dim = Dim::Symbol("n".into());
                }
                *one(&mut node.input, at)? = name.clone();
                graph.input.push(value_info(&name, *kind, &shape));
            }
            Change::Version(version) => model.opset_import.iter_mut().for_each(|o| o.version = *version),
        }
        Some(())
    }
}

/// The files that tests read, by their paths.
static FILES: LazyLock<Vec<(PathBuf, Model)>> = LazyLock::new(|| {
    let paths = with_extension(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx"), "onnx");
    let model = |path: &Path| Model::decode(std::fs::read(path).unwrap().as_slice()).unwrap();
    paths.into_iter().map(|path| (path.clone(), model(&path))).collect()
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_change_to_a_node_of_a_file_makes_its_reader_panic(
        file in any::<Index>(),
        node in any::<Index>(),
        changes in prop::collection::vec(change(), 1..6),
    ) {
        let (path, mut model) = file.get(&FILES).clone();
        let node = node.index(model.graph.as_ref().unwrap().node.len());
        for (i, change) in changes.iter().enumerate() {
            change.apply(&mut model, node, format!("new {i}"));
        }
        let _ = read(&path, model.encode_to_vec().into(), &OnnxOptions::default());
    }
}
