//! Rows of a table by their numbers, and the gradient of the table.

use rayon::prelude::*;

/// `y [n, width]`: row `ids[i]` of `weight [rows, width]` for every i.
///
/// # Panics
/// If an id is not a row.
///
/// ```
/// let mut y = [0.0; 4];
/// headstart_kernels::embedding::forward(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, &[2, 0], &mut y);
/// assert_eq!(y, [5.0, 6.0, 1.0, 2.0]);
/// ```
pub fn forward(weight: &[f32], width: usize, ids: &[i64], y: &mut [f32]) {
    assert_eq!(y.len(), ids.len() * width, "a row for every id");
    let rows = weight.len() / width;
    y.par_chunks_exact_mut(width).with_min_len(64).zip(ids).for_each(|(y, &id)| {
        let row = index(id, rows);
        y.copy_from_slice(&weight[row * width..][..width]);
    });
}

/// Gradient of the table: `dweight[id] = Σ grad[i]` over the `i` with that id, in order of `i`.
///
/// ```
/// let mut dw = [9.0; 4];
/// headstart_kernels::embedding::backward(2, &[1, 1], &[1.0, 2.0, 3.0, 4.0], &mut dw);
/// assert_eq!(dw, [0.0, 0.0, 4.0, 6.0]);
/// ```
pub fn backward(width: usize, ids: &[i64], grad: &[f32], dweight: &mut [f32]) {
    assert_eq!(grad.len(), ids.len() * width, "a row for every id");
    let rows = dweight.len() / width;
    let mut order: Vec<(usize, usize)> =
        ids.iter().enumerate().map(|(i, &id)| (index(id, rows), i)).collect();
    order.sort_unstable();
    // A share of the table, and what belongs to it, for every thread.
    let share = rows.div_ceil(4 * rayon::current_num_threads()).max(1);
    dweight.par_chunks_mut(share * width).enumerate().for_each(|(s, dweight)| {
        dweight.fill(0.0);
        let first = s * share;
        let start = order.partition_point(|&(row, _)| row < first);
        let end = order.partition_point(|&(row, _)| row < first + share);
        for &(row, i) in &order[start..end] {
            let to = &mut dweight[(row - first) * width..][..width];
            to.iter_mut().zip(&grad[i * width..][..width]).for_each(|(to, g)| *to += g);
        }
    });
}

fn index(id: i64, rows: usize) -> usize {
    usize::try_from(id)
        .ok()
        .filter(|i| *i < rows)
        .unwrap_or_else(|| panic!("id {id} of a table of {rows} rows"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers;

    #[test]
    fn rows_that_occur_often_get_every_gradient_in_order() {
        let ids: Vec<i64> = (0..500).map(|i| i * i % 37).collect();
        let grad = numbers(500 * 20, 1);
        let mut dw = vec![1.0; 40 * 20];
        backward(20, &ids, &grad, &mut dw);
        let mut want = vec![0.0f32; 40 * 20];
        for (i, &id) in ids.iter().enumerate() {
            (0..20).for_each(|j| want[id as usize * 20 + j] += grad[i * 20 + j]);
        }
        assert_eq!(dw, want);
    }

    #[test]
    #[should_panic(expected = "id -1 of a table of 3 rows")]
    fn an_id_that_is_no_row_is_refused() {
        forward(&[0.0; 3], 1, &[-1], &mut [0.0]);
    }
}
