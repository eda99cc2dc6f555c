//! Memory of values that nobody needs any more, kept for the next ones.
//!
//! A step makes the same values as the one before.  Fresh pages are cleared by the system, which took a sixth of a step of MobileNet;
//! so the operators where values end keep their memory.  It never holds more than values once took: where nothing that is kept
//! fits, as much of it is given back as is taken anew.

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn_backend::DType;
use burn_dispatch::backends::flex::{FlexTensor, Layout};

/// Elements of a value that is worth keeping.
const LEAST: usize = 1 << 14;

/// What is kept, for all threads: a network need not end on the one that trained it.
#[derive(Debug, Default)]
struct Kept {
    values: Vec<Vec<f32>>,
    /// Elements of all.
    len: usize,
    /// Elements that were taken since the last backward pass began, and the most between two: no more is kept.
    taken: usize,
    most: usize,
}

static KEPT: Mutex<Kept> = Mutex::new(Kept { values: Vec::new(), len: 0, taken: 0, most: 0 });

fn kept() -> MutexGuard<'static, Kept> {
    // No state between two statements is wrong.
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So many numbers, which may be anything.
pub(super) fn take(len: usize) -> Vec<f32> {
    if len < LEAST {
        return vec![0.0; len];
    }
    let mut kept = kept();
    kept.taken += len;
    let fits = |v: &Vec<f32>| v.capacity() >= len && v.capacity() <= len + len / 4;
    let all = kept.values.iter().enumerate();
    if let Some((i, _)) = all.filter(|(_, v)| fits(v)).min_by_key(|(_, v)| v.capacity()) {
        let mut values = kept.values.swap_remove(i);
        kept.len -= values.capacity();
        drop(kept);
        values.resize(len, 0.0);
        return values;
    }
    let mut freed = 0;
    while freed < len
        && let Some(values) = kept.values.pop()
    {
        kept.len -= values.capacity();
        freed += values.capacity();
    }
    drop(kept);
    vec![0.0; len]
}

/// Keeps the memory of a tensor, unless somebody else holds it.
pub(super) fn keep(t: FlexTensor) {
    if t.dtype() != DType::F32 || !t.is_unique() {
        return;
    }
    let len = t.storage::<f32>().len();
    let is_wanted = {
        let kept = kept();
        kept.len + len <= kept.most.max(kept.taken)
    };
    if len < LEAST || !is_wanted {
        return;
    }
    let layout = Layout::contiguous([len].into());
    if let Ok(values) = t.with_layout(layout).into_data().try_into_vec::<f32>() {
        let mut kept = kept();
        kept.len += values.capacity();
        kept.values.push(values);
    }
}

/// A backward pass begins.
pub(super) fn begin() {
    let mut kept = kept();
    kept.most = kept.most.max(kept.taken);
    kept.taken = 0;
}

/// Gives everything back.
pub(crate) fn forget() {
    *kept() = Kept::default();
}
