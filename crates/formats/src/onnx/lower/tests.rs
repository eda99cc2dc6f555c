//! Every operator that is read, with inputs and settings that it cannot have: an error or a network, never a panic.

mod changes;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use headstart_graph::{ElementKind, Shape};
use prost::Message as _;

use super::super::proto::{Attribute, Graph, Model, Node, Opset, Tensor, ValueInfo};
use super::super::write::value_info;
use super::super::{OnnxOptions, read};
use super::SUPPORTED;

/// A setting of whole numbers, or of one.
fn ints(name: &str, values: &[i64]) -> Attribute {
    let kind = if name.ends_with('s') || name.ends_with("shape") { 7 } else { 2 };
    Attribute {
        name: name.into(),
        i: values.first().copied().unwrap_or(0),
        ints: values.to_vec(),
        kind,
        ..Attribute::default()
    }
}

/// Settings that many operators have, as `n` would be one of them.
fn settings(n: i64, count: usize) -> Vec<Attribute> {
    let names =
        ["axes", "dilations", "kernel_shape", "pads", "split", "strides", "output_padding", "output_shape"];
    let lists = names.iter().map(|name| ints(name, &vec![n; count * if *name == "pads" { 2 } else { 1 }]));
    let numbers = [
        "axis",
        "batch_axis",
        "blocksize",
        "group",
        "hidden_size",
        "num_groups",
        "num_outputs",
        "q_num_heads",
        "kv_num_heads",
        "size",
        "to",
    ];
    let numbers = numbers.iter().map(|name| ints(name, &[n]));
    lists.chain(numbers).collect()
}

fn same_size() -> Attribute {
    Attribute { name: "auto_pad".into(), s: b"SAME_UPPER".to_vec().into(), kind: 3, ..Attribute::default() }
}

/// A file of one node with one result or two over `x`, and others that are inputs or weights.
fn file(
    op: &str,
    [of_x, of_others]: [usize; 2],
    n_inputs: usize,
    are_weights: bool,
    attributes: &[Attribute],
    opset: i64,
) -> Vec<u8> {
    let names: Vec<String> = (0..n_inputs).map(|i| format!("x{i}")).collect();
    let mut graph = Graph {
        node: vec![Node {
            input: names.clone(),
            output: ["y", "z"][..1 + n_inputs % 2].iter().map(|o| o.to_string()).collect(),
            name: "it".into(),
            op_type: op.into(),
            attribute: attributes.to_vec(),
            domain: String::new(),
        }],
        name: "net".into(),
        initializer: Vec::new(),
        input: Vec::new(),
        output: vec![ValueInfo { name: "y".into(), ..ValueInfo::default() }],
    };
    for (i, name) in names.iter().enumerate() {
        let rank = if i == 0 { of_x } else { of_others };
        if i > 0 && are_weights {
            let n = 1usize << rank;
            let kind = if i % 2 == 0 { 7 } else { 1 };
            let raw: Vec<u8> = (0..n)
                .flat_map(|i| match kind {
                    7 => (i as i64 % 3).to_le_bytes().to_vec(),
                    _ => (i as f32).to_le_bytes().to_vec(),
                })
                .collect();
            graph.initializer.push(Tensor {
                dims: vec![2; rank],
                data_type: kind,
                name: name.clone(),
                raw_data: raw.into(),
                ..Tensor::default()
            });
        } else {
            graph.input.push(value_info(name, ElementKind::Float, &Shape::fixed(&vec![2; rank])));
        }
    }
    Model {
        ir_version: 8,
        graph: Some(graph),
        opset_import: vec![Opset { domain: String::new(), version: opset }],
        ..Model::default()
    }
    .encode_to_vec()
}

#[test]
fn no_operator_panics_at_inputs_and_settings_that_it_cannot_have() {
    let (mut n_read, mut panicked) = (0, Vec::new());
    for op in SUPPORTED {
        for of_x in 0..6 {
            for (of_others, are_weights) in
                [(0, true), (1, true), (2, true), (4, true), (1, false), (3, false)]
            {
                for n_inputs in [1, 2, 3, 4, 6] {
                    let some = [
                        Vec::new(),
                        settings(2, 2),
                        settings(i64::MIN, 2),
                        settings(1, 1),
                        settings(i64::MAX, 2),
                        vec![same_size()],
                    ];
                    for (i, attributes) in some.iter().enumerate() {
                        let bytes = file(
                            op,
                            [of_x, of_others],
                            n_inputs,
                            are_weights,
                            attributes,
                            [23, 11, 7][i % 3],
                        );
                        let outcome = catch_unwind(AssertUnwindSafe(|| {
                            read(Path::new("net.onnx"), bytes.into(), &OnnxOptions::default()).is_ok()
                        }));
                        match outcome {
                            Ok(is_read) => n_read += usize::from(is_read),
                            Err(_) => panicked.push(format!(
                                "{op}, ranks {of_x} and {of_others}, {n_inputs} inputs, settings {i}"
                            )),
                        }
                    }
                }
            }
        }
    }
    assert!(panicked.is_empty(), "{panicked:#?}");
    assert!(n_read > 1000, "{n_read} are read");
}

#[test]
fn attention_of_a_vector_and_widths_beyond_all_numbers_are_refused() {
    for (of_x, widths, why) in [
        (1, [1, 1, 0], "its keys are no sequence"),
        // Their sum is 2 where numbers wrap.
        (3, [i64::MAX, i64::MAX, 4], "its width is not queries', keys' and values'"),
    ] {
        let settings = [ints("num_heads", &[1]), ints("qkv_hidden_sizes", &widths)];
        let bytes = file("Attention", [of_x, 2], 2, true, &settings, 11);
        let refused = read(Path::new("net.onnx"), bytes.into(), &OnnxOptions::default()).err().unwrap();
        assert!(refused.to_string().contains(why), "{refused}");
    }
}
