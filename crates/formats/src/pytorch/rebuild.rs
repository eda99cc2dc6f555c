//! Tensors, read off the calls that a pickle would have made: `torch._utils._rebuild_tensor_v2(storage, …)`.

use bytes::Bytes;
use headstart_graph::{DType, Tensor};

use super::pickle::{Id, Object, Pickle};
use super::storage::{Storages, dtype_global, storage_ref};

/// Dimensions of a tensor, at most (PyTorch's own limit).
const RANK_MAX: usize = 64;

/// The calls that make a tensor, or a wrapper around one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maker {
    /// `(storage, offset, size, stride, …)`
    Strided,
    /// The same, and a dtype as seventh argument.
    StridedDtype,
    /// The tensor is the first argument.
    Wrapper,
    /// `(function, type, arguments, state)`: a call written as the arguments of another
    Subclass,
    /// Sparse, quantised, on a device without memory, …
    Unsupported,
}

fn maker_of(function: (&str, &str)) -> Option<Maker> {
    Some(match function {
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Maker::Strided,
        ("torch._utils", "_rebuild_tensor_v3") => Maker::StridedDtype,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state")
        | ("torch.nn.parameter", "Parameter" | "Buffer")
        | ("torch.nn", "Parameter")
        | ("torch.autograd.variable", "Variable") => Maker::Wrapper,
        ("torch._tensor" | "torch.tensor", "_rebuild_from_type" | "_rebuild_from_type_v2") => Maker::Subclass,
        ("torch._utils" | "torch._tensor", name) if name.starts_with("_rebuild_") => Maker::Unsupported,
        ("torch", name) if name == "Tensor" || name.ends_with("Tensor") => Maker::Unsupported,
        _ => return None,
    })
}

/// Wrappers around wrappers, at most.
const N_WRAPPERS_MAX: usize = 8;

/// The call that makes a tensor.
struct Made<'p> {
    maker: Maker,
    function: (&'p str, &'p str),
    args: &'p [Id],
}

/// The call that makes the tensor behind `id`, if there is a tensor behind it.
fn unwrap<'p>(pickle: &'p Pickle<'_>, mut id: Id) -> Option<Made<'p>> {
    for _ in 0..N_WRAPPERS_MAX {
        let Object::Call(call) = pickle.get(id) else { return None };
        let mut function = pickle.global(call.function)?;
        let mut args = pickle.tuple(call.args)?;
        let mut maker = maker_of(function)?;
        if maker == Maker::Subclass {
            let &[inner, _type, inner_args, ..] = args else { return None };
            function = pickle.global(inner)?;
            args = pickle.tuple(inner_args)?;
            maker = maker_of(function)?;
        }
        match maker {
            Maker::Wrapper => id = *args.first()?,
            maker => return Some(Made { maker, function, args }),
        }
    }
    None
}

/// True if `id` is a tensor, whether or not of a kind that we can read.
pub(super) fn is_tensor(pickle: &Pickle<'_>, id: Id) -> bool {
    unwrap(pickle, id).is_some()
}

/// True for a tensor without dimensions: a counter or a metric, seldom a weight.
pub(super) fn is_scalar(pickle: &Pickle<'_>, id: Id) -> bool {
    let Some(Made { maker: Maker::Strided | Maker::StridedDtype, args, .. }) = unwrap(pickle, id) else {
        return false;
    };
    args.get(2).and_then(|&size| pickle.tuple(size)).is_some_and(<[Id]>::is_empty)
}

/// Why a tensor cannot be had.
#[derive(Debug)]
pub(super) enum Refusal {
    /// `tensor is {…}`
    Unsupported(String),
    /// `tensor {…}`
    Bounds(String),
}

/// How a tensor lies in its storage, in elements.
struct View {
    dtype: DType,
    offset: usize,
    sizes: Vec<usize>,
    strides: Vec<usize>,
}

/// Reads the tensor behind `id`.  `budget` is how many bytes may still be copied, for tensors that do not lie
/// contiguously in the file.
pub(super) fn tensor(
    pickle: &Pickle<'_>,
    storages: &Storages,
    id: Id,
    budget: &mut usize,
) -> Result<Tensor, Refusal> {
    let unsupported = |what: &str| Refusal::Unsupported(what.into());
    let Made { maker, function, args } = unwrap(pickle, id).ok_or_else(|| unsupported("not a tensor"))?;
    if !matches!(maker, Maker::Strided | Maker::StridedDtype) {
        return Err(Refusal::Unsupported(format!("made by {}.{}", function.0, function.1)));
    }
    let &[storage, offset, size, stride, ref rest @ ..] = args else {
        return Err(unsupported("described by too few arguments"));
    };
    let storage = storage_ref(pickle, storage).map_err(Refusal::Unsupported)?;
    let element = match maker {
        Maker::StridedDtype => {
            let (module, name) = rest.get(2).and_then(|&id| pickle.global(id)).unwrap_or_default();
            dtype_global(module, name)
                .ok_or_else(|| Refusal::Unsupported(format!("of type {module}.{name}")))?
        }
        _ => storage.element.ok_or_else(|| unsupported("of no type"))?,
    };
    let dtype =
        element.dtype.ok_or_else(|| Refusal::Unsupported(format!("of type torch.{}", element.name)))?;
    // The last argument may say that the numbers are to be read negated or conjugated.
    let metadata = rest.get(if maker == Maker::StridedDtype { 3 } else { 2 }).map(|&id| pickle.get(id));
    if let Some(Object::Dict(flags)) = metadata
        && flags.iter().any(|&(_, v)| matches!(pickle.get(v), Object::Bool(true)))
    {
        return Err(unsupported("a negated or conjugated view"));
    }

    let view = View {
        dtype,
        offset: dimension(pickle, offset)?,
        sizes: dimensions(pickle, size)?,
        strides: dimensions(pickle, stride)?,
    };
    let data = storage_bytes(storages, &storage)?;
    read_view(&view, data, budget)
}

/// The bytes that a storage reference means.
fn storage_bytes(storages: &Storages, storage: &super::storage::StorageRef<'_>) -> Result<Bytes, Refusal> {
    let key = storage.key;
    let all = storages
        .get(key)
        .ok_or_else(|| Refusal::Bounds(format!("needs storage `{key}`, which the file does not have")))?;
    let (first, n) = storage.view.unwrap_or((0, storage.n));
    let range = || {
        let from = first.checked_mul(storage.element_size())?;
        let to = from.checked_add(n.checked_mul(storage.element_size())?)?;
        (to <= all.len()).then_some(from..to)
    };
    let range = range().ok_or_else(|| {
        let (got, size) = (all.len(), storage.element_size());
        Refusal::Bounds(format!(
            "says that storage `{key}` has {n} elements of {size} bytes, but it has {got} bytes"
        ))
    })?;
    Ok(all.slice(range))
}

fn dimension(pickle: &Pickle<'_>, id: Id) -> Result<usize, Refusal> {
    let n = pickle.int(id).ok_or_else(|| Refusal::Bounds("has a size that is not a number".into()))?;
    // isize::MAX bounds every allocation, so that sums of two cannot overflow either.
    usize::try_from(n)
        .ok()
        .filter(|&n| n <= isize::MAX as usize)
        .ok_or_else(|| Refusal::Bounds(format!("has the impossible size, stride or offset {n}")))
}

/// A tuple of numbers, or `torch.Size` of one.
fn dimensions(pickle: &Pickle<'_>, mut id: Id) -> Result<Vec<usize>, Refusal> {
    if let Object::Call(call) = pickle.get(id)
        && pickle.global(call.function) == Some(("torch", "Size"))
        && let Some(&[inner]) = pickle.tuple(call.args)
    {
        id = inner;
    }
    let (Object::Tuple(items) | Object::List(items)) = pickle.get(id) else {
        return Err(Refusal::Bounds("has a shape that is not a tuple".into()));
    };
    if items.len() > RANK_MAX {
        return Err(Refusal::Bounds(format!("has {} dimensions (at most {RANK_MAX})", items.len())));
    }
    items.iter().map(|&n| dimension(pickle, n)).collect()
}

/// Makes a dense row-major tensor of a view, sharing the storage's bytes where they lie like that already.
fn read_view(view: &View, data: Bytes, budget: &mut usize) -> Result<Tensor, Refusal> {
    let View { dtype, offset, sizes, strides } = view;
    let bounds = |what: String| Err(Refusal::Bounds(what));
    if sizes.len() != strides.len() {
        return bounds(format!("has {} sizes and {} strides", sizes.len(), strides.len()));
    }
    let n_bytes = sizes.iter().try_fold(dtype.size(), |n, &d| n.checked_mul(d));
    let Some(n_bytes) = n_bytes else { return bounds(format!("has the impossible shape {sizes:?}")) };
    let dense = |bytes: Bytes| {
        Tensor::new(*dtype, sizes.clone(), bytes)
            .map_err(|e| Refusal::Bounds(format!("is inconsistent: {e}")))
    };
    if n_bytes == 0 {
        return dense(Bytes::new());
    }
    let last = sizes
        .iter()
        .zip(strides)
        .try_fold(*offset, |at, (&n, &stride)| at.checked_add((n - 1).checked_mul(stride)?));
    let n_elements = data.len() / dtype.size();
    if last.is_none_or(|last| last >= n_elements) {
        return bounds(format!(
            "of shape {sizes:?}, strides {strides:?} and offset {offset} reaches beyond its storage of {n_elements} \
             elements"
        ));
    }
    let from = offset * dtype.size();
    if is_row_major(sizes, strides) {
        return dense(data.slice(from..from + n_bytes));
    }
    if n_bytes > *budget {
        return bounds(format!(
            "of shape {sizes:?} expands to {n_bytes} bytes, out of proportion to its file"
        ));
    }
    *budget -= n_bytes;
    dense(gather(view, &data, n_bytes).into())
}

fn is_row_major(sizes: &[usize], strides: &[usize]) -> bool {
    let mut want = 1;
    sizes.iter().zip(strides).rev().all(|(&n, &stride)| {
        let fits = n == 1 || stride == want;
        want *= n;
        fits
    })
}

/// Copies a view whose bounds were checked, row by row.
fn gather(view: &View, data: &[u8], n_bytes: usize) -> Vec<u8> {
    let size = view.dtype.size();
    let mut out = Vec::with_capacity(n_bytes);
    let (Some((&width, outer)), Some((&step, outer_strides))) =
        (view.sizes.split_last(), view.strides.split_last())
    else {
        return data[view.offset * size..][..size].to_vec();
    };
    let mut idx = vec![0; outer.len()];
    let mut row = view.offset;
    loop {
        for i in 0..width {
            out.extend_from_slice(&data[(row + i * step) * size..][..size]);
        }
        // Like an odometer: the last digit that can still turn does, those behind it go back to 0.
        let Some(d) = (0..outer.len()).rev().find(|&d| idx[d] + 1 < outer[d]) else { return out };
        for e in d + 1..outer.len() {
            row -= idx[e] * outer_strides[e];
            idx[e] = 0;
        }
        idx[d] += 1;
        row += outer_strides[d];
    }
}
