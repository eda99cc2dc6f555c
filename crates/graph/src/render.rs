//! A graph as a text that a person can read.

use std::fmt::Write as _;

use crate::{Graph, Op, Padding, Role, ValueKind};

/// One line a node: path, operator with its settings, output shape, number of learned parameters.  Node paths that
/// an operator reads besides the line above it are shown behind `←`.
pub fn render(graph: &Graph) -> String {
    let mut out = format!(
        "{}: {} nodes, {} learned parameters\n\n",
        graph.name(),
        graph.nodes().len(),
        thousands(graph.n_learned())
    );
    let mut rows: Vec<[String; 5]> = vec![["node", "operator", "output", "parameters", ""].map(String::from)];
    for (_, name, spec) in graph.inputs() {
        rows.push([
            name.into(),
            format!("input {}", spec.dtype),
            spec.shape.to_string(),
            String::new(),
            String::new(),
        ]);
    }
    let mut above = graph.inputs().last().map(|(id, _, _)| id);
    for node in graph.nodes() {
        let mut learned = 0;
        let mut reads = Vec::new();
        for &id in &node.inputs {
            match &graph.value(id).kind {
                ValueKind::Param(p) if p.role == Role::Learned => {
                    learned += p.shape.iter().product::<usize>()
                }
                ValueKind::Param(_) => {}
                _ if Some(id) == above => {}
                _ => reads.push(graph.value(id).name.as_str()),
            }
        }
        rows.push([
            node.path.clone(),
            describe(&node.op, node.inputs.get(1).map(|&w| graph.value(w).shape.to_string())),
            graph.value(node.output).shape.to_string(),
            if learned > 0 { thousands(learned) } else { String::new() },
            if reads.is_empty() { String::new() } else { format!("← {}", reads.join(", ")) },
        ]);
        above = Some(node.output);
    }
    let width = |i: usize| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0);
    let [w0, w1, w2, w3] = [0, 1, 2, 3].map(width);
    for [a, b, c, d, e] in &rows {
        let line = format!("{a:w0$}  {b:w1$}  {c:w2$}  {d:>w3$}  {e}");
        out.push_str(line.trim_end());
        out.push('\n');
    }
    for o in graph.outputs() {
        let v = graph.value(o.value);
        let _ = writeln!(out, "\noutput {}: {} {}", o.name, v.name, v.shape);
    }
    out
}

fn describe(op: &Op, weight: Option<String>) -> String {
    match op {
        Op::Conv2d { stride, padding, dilation, groups } => {
            let mut s = format!("Conv2d {}", weight.unwrap_or_default());
            if *stride != [1, 1] {
                let _ = write!(s, " stride {}", pair(*stride));
            }
            match padding {
                Padding::Explicit([0, 0, 0, 0]) => {}
                Padding::Explicit([t, l, b, r]) if t == b && l == r => {
                    let _ = write!(s, " pad {}", pair([*t, *l]));
                }
                Padding::Explicit(p) => {
                    let _ = write!(s, " pad {p:?}");
                }
                Padding::SameUpper => s.push_str(" pad same"),
            }
            if *dilation != [1, 1] {
                let _ = write!(s, " dilation {}", pair(*dilation));
            }
            if *groups != 1 {
                let _ = write!(s, " groups {groups}");
            }
            s
        }
        Op::MaxPool2d { kernel, stride, .. } | Op::AvgPool2d { kernel, stride, .. } => {
            format!("{} {} stride {}", op.name(), pair(*kernel), pair(*stride))
        }
        Op::AdaptiveAvgPool2d { size } => format!("AdaptiveAvgPool2d to {}", pair(*size)),
        Op::Clip { min, max } => format!("Clip {min} to {max}"),
        Op::Concat { axis } | Op::Softmax { axis } => format!("{} axis {axis}", op.name()),
        Op::Select { axis, index } => format!("Select axis {axis} at {index}"),
        Op::Attention(a) => {
            let mut s = format!("Attention {} heads", a.heads);
            for (on, word) in [(a.causal, " causal"), (a.bias, " biased")] {
                s.push_str(if on { word } else { "" });
            }
            s
        }
        Op::Dropout { p } | Op::DropPath { p } => format!("{} {p}", op.name()),
        _ => op.name().to_string(),
    }
}

fn pair([a, b]: [usize; 2]) -> String {
    if a == b { a.to_string() } else { format!("{a}×{b}") }
}

/// A whole number as people read it.
///
/// ```
/// assert_eq!(headstart_graph::thousands(1234567), "1,234,567");
/// ```
pub fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use crate::{Conv, GraphBuilder, GraphError};

    #[test]
    fn a_residual_block_reads_as_a_table() -> Result<(), GraphError> {
        let mut b = GraphBuilder::new("block");
        let x = b.image("image", [4, 8, 8]);
        let y = b.conv("conv1", x, Conv::new(4, 3).padding(1).no_bias())?;
        let y = b.batch_norm("bn1", y, 1e-5, 0.1)?;
        let y = b.node("add", crate::Op::Add, &[y, x])?;
        let graph = b.finish([("y", y)])?;
        let want = "block: 3 nodes, 152 learned parameters

node   operator                   output              parameters
image  input f32                  [batch, 4, 8, 8]
conv1  Conv2d [4, 4, 3, 3] pad 1  [batch, 4, 8, 8]         144
bn1    BatchNorm                  [batch, 4, 8, 8]           8
add    Add                        [batch, 4, 8, 8]              ← image

output y: add [batch, 4, 8, 8]
";
        let squeeze = |s: &str| {
            s.lines()
                .map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect::<Vec<_>>()
                .join("\n")
        };
        assert_eq!(squeeze(&super::render(&graph)), squeeze(want));
        Ok(())
    }
}
