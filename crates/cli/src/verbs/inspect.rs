//! `inspect`: what a file or folder holds, as a page.

use headstart::{ArchitectureFacts, Error, Inspection, Session, TensorFacts, bytes, inspect, thousands};

use crate::args::InspectArgs;
use crate::output;

/// Files of so many tensors are listed whole.
const TENSORS_SHOWN: usize = 60;
const OPERATORS_SHOWN: usize = 12;
/// Longest value of a key-value pair, characters.
const VALUE_SHOWN: usize = 100;

/// Looks, and prints.
pub(crate) fn run(session: &Session, args: &InspectArgs, json: bool) -> Result<u8, Error> {
    let found = inspect(session, &args.file, &args.source.options())?;
    if json {
        output::json(&found);
    } else {
        page(&args.file, &found, args.tensors || found.tensors.len() <= TENSORS_SHOWN);
    }
    Ok(0)
}

fn page(asked: &str, found: &Inspection, with_tensors: bool) {
    println!("{asked}");
    row("format", &found.format.to_string());
    if let Some(onnx) = &found.onnx {
        let opsets: Vec<String> = onnx.opsets.iter().map(|(d, v)| format!("{d} {v}").trim().into()).collect();
        let by = if onnx.producer.is_empty() { String::new() } else { format!(", by {}", onnx.producer) };
        row("versions", &format!("opset {}, IR {}{by}", opsets.join(", "), onnx.ir_version));
    }
    for file in &found.files {
        row("file", &format!("{}, {}, SHA-256 {}", file.path.display(), bytes(file.bytes), file.sha256));
    }
    row("licence", found.licence.as_deref().unwrap_or("unknown"));
    let types: Vec<String> =
        found.dtypes.iter().map(|(d, f)| format!("{} of {d}", thousands(f.n_parameters as usize))).collect();
    row(
        "parameters",
        &format!(
            "{} in {} tensors, {} ({})",
            thousands(found.n_parameters as usize),
            found.tensors.len(),
            bytes(found.n_bytes),
            types.join(", ")
        ),
    );
    if let Some(architecture) = &found.architecture {
        row("network", &called(architecture));
    }
    graph(found);
    if !found.labels.is_empty() {
        let shown: Vec<&str> = found.labels.iter().take(6).map(String::as_str).collect();
        let more = if found.labels.len() > 6 { ", …" } else { "" };
        row("labels", &format!("{} ({}{more})", found.labels.len(), shown.join(", ")));
    }
    for (key, value) in &found.metadata {
        let value: String = value.chars().take(VALUE_SHOWN).collect();
        row("metadata", &format!("{key} = {}", value.escape_debug()));
    }
    for note in &found.notes {
        row("note", note);
    }
    groups(found, with_tensors);
}

fn graph(found: &Inspection) {
    if let Some(graph) = &found.graph {
        for (name, dtype, shape) in &graph.inputs {
            row("reads", &format!("{name}: {dtype} {shape}"));
        }
        for (name, shape) in &graph.outputs {
            row("makes", &format!("{name}: {shape}"));
        }
        row("nodes", &format!("{}; {} numbers can learn", graph.n_nodes, thousands(graph.n_learned)));
        for tap in &graph.taps {
            let default = if tap.is_default { "  (the default)" } else { "" };
            row("tap", &format!("{} {}{default}", tap.node, tap.shape));
        }
    }
    if let Some(onnx) = &found.onnx {
        for (name, dtype, shape) in onnx.inputs.iter().filter(|_| found.graph.is_none()) {
            row("reads", &format!("{name}: {dtype} {shape}"));
        }
        let shown: Vec<String> =
            onnx.operators.iter().take(OPERATORS_SHOWN).map(|(op, n)| format!("{op} {n}")).collect();
        let more = if onnx.operators.len() > OPERATORS_SHOWN { ", …" } else { "" };
        row("operators", &format!("{}{more}", shown.join(", ")));
        if !onnx.unsupported.is_empty() {
            row("not read", &onnx.unsupported.join(", "));
        }
    }
    if let Some(why) = &found.no_graph {
        let place = format!("{}: ", found.path.display());
        row("no graph", why.strip_prefix(&place).unwrap_or(why));
        if found.onnx.as_ref().is_some_and(|o| o.unsupported.is_empty()) {
            row("", "--fix NAME=N gives a size or a scalar input a number");
        }
    }
}

fn groups(found: &Inspection, with_tensors: bool) {
    if found.tensors.is_empty() {
        return;
    }
    println!("\n  {:<48} {:>8} {:>14} {:>10}", "group", "tensors", "parameters", "bytes");
    for g in &found.groups {
        let n = thousands(g.n_parameters as usize);
        println!("  {:<48} {:>8} {n:>14} {:>10}", g.name, g.n_tensors, bytes(g.n_bytes));
    }
    if !with_tensors {
        println!("\n  {} tensors: --tensors lists them", found.tensors.len());
        return;
    }
    println!("\n  {:<64} {:<6} shape", "tensor", "type");
    for TensorFacts { name, dtype, shape } in &found.tensors {
        println!("  {name:<64} {dtype:<6} {shape:?}");
    }
}

fn called(a: &ArchitectureFacts) -> String {
    if a.by == "file" {
        return a.name.clone();
    }
    let classes = a.n_classes.map_or("no classifier".into(), |n| format!("{n} classes"));
    let others =
        if a.others.is_empty() { String::new() } else { format!("; as well {}", a.others.join(", ")) };
    format!("{}, {classes}, by names and shapes{others}", a.name)
}

fn row(what: &str, text: &str) {
    println!("  {what:<11} {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(
            ["0", "999", "1,000", "12,345,678"],
            [0, 999, 1000, 12_345_678].map(thousands).each_ref().map(String::as_str)
        );
        assert_eq!([bytes(999), bytes(1500), bytes(12_345_678)], ["999 B", "1.50 kB", "12.3 MB"]);
    }
}
