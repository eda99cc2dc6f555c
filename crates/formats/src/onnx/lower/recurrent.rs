//! Recurrent networks.

use headstart_graph::{AxisRange, Cell, Dim, Direction, Expr, Literal, Op};

use super::super::node::Node;
use super::super::reader::{Reader, Use, Val};

/// `LSTM` and `GRU`: one node that makes all states of all steps, and parts of it for each output.
pub(super) fn recurrent(r: &mut Reader, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let direction = match n.string("direction").unwrap_or("forward") {
        "forward" => Direction::Forward,
        "reverse" => Direction::Reverse,
        "bidirectional" => Direction::Bidirectional,
        other => return Err(format!("`direction` is {other}")),
    };
    let cell = match n.op {
        "LSTM" => Cell::Lstm,
        _ => Cell::Gru { linear_before_reset: n.flag("linear_before_reset", false) },
    };
    let plain = if cell == Cell::Lstm { &["Sigmoid", "Tanh", "Tanh"][..] } else { &["Sigmoid", "Tanh"] };
    let activations = n.strings("activations");
    if activations.iter().zip(plain.iter().cycle()).any(|(a, b)| a != b) {
        return Err(format!("its activations are {}", activations.join(", ")));
    }
    if n.has("clip") || n.flag("input_forget", false) || n.flag("layout", false) || n.optional(7).is_some() {
        return Err("clip, input_forget, layout and peepholes are not read".into());
    }
    if n.optional(4).is_some() {
        return Err("lengths of the sequences of a batch are not read".into());
    }
    let (x, w, recurrence) = (n.input(0)?, n.input(1)?, n.input(2)?);
    let dims = r.dims(x);
    let hidden = r.dims(recurrence).get(2).and_then(Dim::fixed).ok_or("its hidden size must be known")?;
    let ways = direction.count();
    let fan_in = hidden;
    let batch = dims.get(1).cloned().ok_or("its input must be [sequence, batch, in]")?;
    let zeros = |r: &mut Reader, shape: Vec<Dim>, name: &str| -> Result<Val, String> {
        let zero = Literal::f32(&[1; 3][..shape.len()], &[0.0]).map_err(|e| e.to_string())?;
        let zero = Val::Value(r.node(&n.part(&format!("{name}.zero")), Op::Constant { value: zero }, &[])?);
        r.apply(&n.part(name), Op::Expand { shape }, &[&zero])
    };
    let bias = match n.optional(3) {
        Some(b) => Val::Value(r.value_for(b, Use::Shift)?),
        None => {
            let width = hidden.checked_mul(2 * cell.gates()).ok_or("its hidden size is too large")?;
            zeros(r, vec![Dim::Fixed(ways), Dim::Fixed(width)], "bias")?
        }
    };
    let mut inputs = vec![
        r.value(x)?,
        r.value_for(w, Use::Matrix { fan_in })?,
        r.value_for(recurrence, Use::Matrix { fan_in })?,
        r.value(&bias)?,
    ];
    for k in 0..cell.states() {
        let state = match n.optional(5 + k) {
            Some(state) => state.clone(),
            None => {
                zeros(r, vec![Dim::Fixed(ways), batch.clone(), Dim::Fixed(hidden)], &format!("state{k}"))?
            }
        };
        inputs.push(r.value(&state)?);
    }
    let all = Val::Value(r.node(n.path, Op::Recurrent { cell, direction }, &inputs)?);
    let number = Dim::Fixed;
    let states = |k: usize| AxisRange { axis: 3, start: number(k * hidden), length: number(hidden), step: 1 };
    let mut outputs = vec![r.apply(&n.part("Y"), Op::Slice { ranges: vec![states(0)] }, &[&all])?];
    // The state after the last step each way, which for the way back is the first.
    let last =
        Expr::from(&dims[0]).sub(&Expr::number(1)).and_then(|e| e.to_dim()).ok_or("there are no steps")?;
    for k in 0..cell.states() {
        if !n.wants(1 + k) {
            outputs.push(all.clone());
            continue;
        }
        let name = ["Y_h", "Y_c"][k];
        let mut ends = Vec::new();
        for way in 0..ways {
            let is_back = direction == Direction::Reverse || way == 1;
            let step = if is_back { number(0) } else { last.clone() };
            let ranges = vec![
                AxisRange { axis: 0, start: step, length: number(1), step: 1 },
                AxisRange { axis: 1, start: number(way), length: number(1), step: 1 },
                states(k),
            ];
            let end = r.apply(&n.part(&format!("{name}.{way}")), Op::Slice { ranges }, &[&all])?;
            let shape = vec![number(1), batch.clone(), number(hidden)];
            ends.push(r.apply(&n.part(&format!("{name}.{way}.state")), Op::Reshape { shape }, &[&end])?);
        }
        outputs.push(match ends.as_slice() {
            [one] => one.clone(),
            _ => r.apply(&n.part(name), Op::Concat { axis: 0 }, &ends.iter().collect::<Vec<_>>())?,
        });
    }
    Ok(outputs)
}
