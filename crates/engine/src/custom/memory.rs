//! Memory of values that nobody needs any more, kept for the next ones.
//!
//! A step makes the same values as the one before.  Fresh pages are cleared by the system, which took a sixth of a step of MobileNet;
//! so the operators where values end keep their memory.  What is kept and what is used never were more together than what was used
//! at once: where nothing that is kept fits and there is no room, as much of it is given back as is taken anew.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn_backend::DType;
use burn_dispatch::backends::flex::{FlexTensor, Layout};

/// Elements of a value that is worth keeping.
const LEAST: usize = 1 << 14;

/// What is kept, the oldest first, for all threads: a network need not end on the one that trained it.
#[derive(Debug, Default)]
struct Kept {
    values: VecDeque<Vec<f32>>,
    /// Elements of all.
    len: usize,
    /// Elements that the present run took and has not given back; those that end elsewhere count until it ends.
    used: usize,
    /// The most of them in a run with a backward pass.
    most: usize,
    /// Whether it has begun.
    is_backward: bool,
}

static KEPT: Mutex<Kept> =
    Mutex::new(Kept { values: VecDeque::new(), len: 0, used: 0, most: 0, is_backward: false });

fn kept() -> MutexGuard<'static, Kept> {
    // No state between two statements is wrong.
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So many numbers, which may be anything.
pub(super) fn take(len: usize) -> Vec<f32> {
    take_of(len, len + len / 4)
}

/// The same for the gradient of a parameter, of memory up to twice as large: when it is made, most values of the run have ended.
pub(super) fn take_for_gradient(len: usize) -> Vec<f32> {
    take_of(len, 2 * len)
}

fn take_of(len: usize, most: usize) -> Vec<f32> {
    if len < LEAST {
        return vec![0.0; len];
    }
    let mut kept = kept();
    kept.used += len;
    if kept.is_backward {
        kept.most = kept.most.max(kept.used);
    }
    let fits = |v: &Vec<f32>| v.capacity() >= len && v.capacity() <= most;
    let all = kept.values.iter().enumerate();
    if let Some((i, _)) = all.filter(|(_, v)| fits(v)).min_by_key(|(_, v)| v.capacity()) {
        let mut values = kept.values.remove(i).unwrap_or_default();
        kept.len -= values.capacity();
        drop(kept);
        values.resize(len, 0.0);
        return values;
    }
    while kept.used + kept.len > kept.most
        && let Some(values) = kept.values.pop_front()
    {
        kept.len -= values.capacity();
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
    if len < LEAST {
        return;
    }
    let layout = Layout::contiguous([len].into());
    if let Ok(values) = t.with_layout(layout).into_data().try_into_vec::<f32>() {
        let mut kept = kept();
        kept.used = kept.used.saturating_sub(len);
        if kept.used + kept.len + values.capacity() <= kept.most {
            kept.len += values.capacity();
            kept.values.push_back(values);
        }
    }
}

/// A run begins: nothing is left of the one before.
pub(crate) fn begin_run() {
    let mut kept = kept();
    (kept.used, kept.is_backward) = (0, false);
}

/// Its backward pass begins.
pub(super) fn begin_backward() {
    let mut kept = kept();
    (kept.most, kept.is_backward) = (kept.most.max(kept.used), true);
}

/// Gives everything back.
pub(crate) fn forget() {
    *kept() = Kept::default();
}
