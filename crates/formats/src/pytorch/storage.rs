//! Storages: the flat arrays that tensors are views of.

use std::collections::HashMap;

use bytes::Bytes;
use headstart_graph::DType;

use super::pickle::{Id, Object, Pickle};

/// The raw data of a file, by storage key.
pub(super) type Storages = HashMap<String, Bytes>;

/// An element type as PyTorch has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element {
    /// The name after `torch.`: `float32`.
    pub(super) name: &'static str,
    /// Bytes an element takes.
    pub(super) size: usize,
    /// Ours, if we have it.
    pub(super) dtype: Option<DType>,
}

/// What a persistent id says: a storage, its type and length.
#[derive(Debug, Clone, Copy)]
pub(super) struct StorageRef<'a> {
    pub(super) key: &'a str,
    /// None if the storage is untyped: bytes.
    pub(super) element: Option<Element>,
    /// Elements in it.
    pub(super) n: usize,
    /// Part of the storage under this key (files before 0.4): first element and their number.
    pub(super) view: Option<(usize, usize)>,
}

impl StorageRef<'_> {
    /// Bytes per counted element.
    pub(super) fn element_size(&self) -> usize {
        self.element.map_or(1, |e| e.size)
    }
}

/// Reads `('storage', torch.FloatStorage, key, location, n_elements[, view])`.
pub(super) fn storage_ref<'a>(pickle: &Pickle<'a>, id: Id) -> Result<StorageRef<'a>, String> {
    let bad = || "a reference to data that is not a storage".to_string();
    let Object::Persistent(id) = pickle.get(id) else { return Err(bad()) };
    let fields = pickle.tuple(*id).ok_or_else(bad)?;
    let [kind, class, key, _location, n, rest @ ..] = fields else { return Err(bad()) };
    if pickle.str(*kind) != Some("storage") {
        return Err(bad());
    }
    let (module, name) = pickle.global(*class).ok_or_else(bad)?;
    let element =
        storage_class(module, name).ok_or_else(|| format!("of an unknown storage type {module}.{name}"))?;
    let key = pickle.str(*key).ok_or_else(bad)?;
    let size = |id: Id| pickle.int(id).and_then(|n| usize::try_from(n).ok());
    let n = size(*n).ok_or_else(|| format!("in storage `{key}` of an impossible length"))?;
    let view = match rest.first().map(|&id| pickle.get(id)) {
        None | Some(Object::None) => None,
        Some(Object::Tuple(view)) => match view[..] {
            [_, from, len] => Some((size(from).ok_or_else(bad)?, size(len).ok_or_else(bad)?)),
            _ => return Err(bad()),
        },
        Some(_) => return Err(bad()),
    };
    Ok(StorageRef { key, element, n, view })
}

/// `torch.<name>`, for tensors that carry their element type themselves.
pub(super) fn dtype_global(module: &str, name: &str) -> Option<Element> {
    (module == "torch").then(|| ELEMENTS.iter().find(|(_, e)| e.name == name)).flatten().map(|(_, e)| *e)
}

/// The element type of a storage class, `Some(None)` if it is untyped, `None` if it is no storage.
fn storage_class(module: &str, name: &str) -> Option<Option<Element>> {
    match (module, name) {
        ("torch.storage" | "torch", "UntypedStorage" | "_UntypedStorage") => Some(None),
        ("torch" | "torch.cuda", _) => ELEMENTS
            .iter()
            .find(|(class, _)| !class.is_empty() && name.strip_suffix("Storage") == Some(class))
            .map(|(_, e)| Some(*e)),
        _ => None,
    }
}

const fn known(name: &'static str, dtype: DType) -> Element {
    Element { name, size: dtype.size(), dtype: Some(dtype) }
}

const fn other(name: &'static str, size: usize) -> Element {
    Element { name, size, dtype: None }
}

/// Storage classes (empty where PyTorch has none) and element types.  Types that we lack are listed with their size,
/// because the legacy format cannot be read past a storage of unknown size.
const ELEMENTS: [(&str, Element); 25] = [
    ("Double", known("float64", DType::F64)),
    ("Float", known("float32", DType::F32)),
    ("Half", known("float16", DType::F16)),
    ("BFloat16", known("bfloat16", DType::BF16)),
    ("Long", known("int64", DType::I64)),
    ("Int", known("int32", DType::I32)),
    ("Short", known("int16", DType::I16)),
    ("Char", known("int8", DType::I8)),
    ("Byte", known("uint8", DType::U8)),
    ("Bool", known("bool", DType::Bool)),
    ("ComplexDouble", other("complex128", 16)),
    ("ComplexFloat", other("complex64", 8)),
    ("QInt32", other("qint32", 4)),
    ("QInt8", other("qint8", 1)),
    ("QUInt8", other("quint8", 1)),
    ("QUInt4x2", other("quint4x2", 1)),
    ("QUInt2x4", other("quint2x4", 1)),
    ("", other("complex32", 4)),
    ("", other("uint16", 2)),
    ("", other("uint32", 4)),
    ("", other("uint64", 8)),
    ("", other("float8_e4m3fn", 1)),
    ("", other("float8_e5m2", 1)),
    ("", other("float8_e4m3fnuz", 1)),
    ("", other("float8_e5m2fnuz", 1)),
];
