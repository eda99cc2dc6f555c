//! The shape of a recurrent network's result.

use super::dense::may_equal;
use crate::{Cell, Dim, Direction, Shape};

/// `x [sequence, batch, in]`, weights, initial states.
pub(super) fn recurrent(inputs: &[&Shape], cell: Cell, direction: Direction) -> Result<Shape, String> {
    let (x, recurrence) = (inputs[0], inputs[2]);
    x.of_rank(3)?;
    if x.known(0) == Some(0) {
        return Err("there are no steps".into());
    }
    if recurrence.rank() != 3 {
        return Err("the recurrent weight must have 3 dimensions".into());
    }
    let hidden = recurrence.number(2, "the hidden size")?;
    let (gates, ways) =
        (cell.gates().checked_mul(hidden).ok_or("the hidden size is too large")?, direction.count());
    let weights = [
        Shape::fixed(&[ways, gates, x.last()?]),
        Shape::fixed(&[ways, gates, hidden]),
        Shape::fixed(&[ways, gates.checked_mul(2).ok_or("the hidden size is too large")?]),
    ];
    for (got, want) in inputs[1..4].iter().zip(&weights) {
        if *got != want {
            return Err(format!("a weight is {got}, not {want}"));
        }
    }
    for state in &inputs[4..] {
        let fits = state.rank() == 3
            && state.known(0) == Some(ways)
            && may_equal(&state.0[1], &x.0[1])
            && state.known(2) == Some(hidden);
        if !fits {
            return Err(format!("an initial state is {state}, not [{ways}, {}, {hidden}]", x.0[1]));
        }
    }
    Ok(Shape(vec![x.0[0].clone(), Dim::Fixed(ways), x.0[1].clone(), Dim::Fixed(hidden * cell.states())]))
}
