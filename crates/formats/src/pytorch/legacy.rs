//! The stream that `torch.save` wrote before PyTorch 1.6: five pickles (a magic number, the protocol, the system, the
//! object, the storage keys) and then the storages, each a count of elements and the raw elements.

use std::collections::HashMap;
use std::path::Path;

use bytes::Bytes;

use super::malformed;
use super::pickle::{Id, Object, Pickle};
use super::storage::{StorageRef, Storages, storage_ref};
use crate::FormatError;
use crate::listing::brief;

const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
const PROTOCOL: i128 = 1001;

/// The pickled object and the storages of a stream; both share its bytes.
pub(super) fn open<'a>(path: &Path, bytes: &'a Bytes) -> Result<(Pickle<'a>, Storages), FormatError> {
    let mut at = 0;
    let mut next = |what: &str| {
        let (pickle, n) = Pickle::parse(&bytes[at..])
            .map_err(|e| malformed(path, format!("{what}, from byte {at}: {e}")))?;
        at += n;
        Ok::<_, FormatError>(pickle)
    };
    let magic = next("magic number")?;
    if magic.int(magic.top()) != Some(MAGIC) {
        return Err(FormatError::NotWeights {
            path: path.into(),
            found: "a Python pickle that torch.save did not write",
        });
    }
    let protocol = next("protocol")?;
    if protocol.int(protocol.top()) != Some(PROTOCOL) {
        return Err(malformed(path, "its protocol is not 1001"));
    }
    let system = next("system")?;
    if is_big_endian(&system) {
        return Err(malformed(
            path,
            "its numbers are big-endian; load and save it again on a little-endian machine",
        ));
    }
    let object = next("object")?;
    let keys = next("storage keys")?;
    let storages = read_storages(path, bytes, at, &object, &keys)?;
    Ok((object, storages))
}

fn is_big_endian(system: &Pickle<'_>) -> bool {
    let Object::Dict(items) = system.get(system.top()) else { return false };
    items
        .iter()
        .any(|&(k, v)| system.str(k) == Some("little_endian") && matches!(system.get(v), Object::Bool(false)))
}

/// Cuts the rest of the stream into storages.
fn read_storages(
    path: &Path,
    bytes: &Bytes,
    mut at: usize,
    object: &Pickle<'_>,
    keys: &Pickle<'_>,
) -> Result<Storages, FormatError> {
    let lengths = lengths(path, object)?;
    let Object::List(keys_list) = keys.get(keys.top()) else {
        return Err(malformed(path, "its storage keys are not a list"));
    };
    let mut storages = Storages::new();
    for &id in keys_list {
        let key = keys.str(id).ok_or_else(|| malformed(path, "a storage key is not text"))?;
        let bad = |what: &str| malformed(path, format!("storage `{}` {what}", brief(key)));
        let storage = lengths.get(key).ok_or_else(|| bad("is used by no tensor"))?;
        let n = bytes
            .get(at..)
            .and_then(|rest| rest.first_chunk())
            .map(|n| i64::from_le_bytes(*n))
            .ok_or_else(|| bad("is cut off"))?;
        let n = usize::try_from(n).map_err(|_| bad("has a negative length"))?;
        if storage.view.is_none() && n != storage.n {
            return Err(bad(&format!("has {n} elements, its tensors say {}", storage.n)));
        }
        let from = at + size_of::<i64>();
        let to = n
            .checked_mul(storage.element_size())
            .and_then(|n| from.checked_add(n))
            .filter(|&to| to <= bytes.len())
            .ok_or_else(|| bad(&format!("claims {n} elements, more than the file has")))?;
        if storages.insert(key.into(), bytes.slice(from..to)).is_some() {
            return Err(bad("is listed twice"));
        }
        at = to;
    }
    Ok(storages)
}

/// What the object says about its storages, by key.
fn lengths<'a>(path: &Path, object: &Pickle<'a>) -> Result<HashMap<&'a str, StorageRef<'a>>, FormatError> {
    let mut lengths: HashMap<&str, StorageRef<'_>> = HashMap::new();
    for id in object.ids() {
        // Besides storages, modules (with their source code) were referred to like this: not ours to read.
        if is_storage(object, id) {
            let storage = storage_ref(object, id)
                .map_err(|what| malformed(path, format!("its pickle has {}", brief(&what))))?;
            let key = storage.key;
            let first = lengths.entry(key).or_insert(storage);
            if first.element_size() != storage.element_size() {
                return Err(malformed(path, format!("storage `{}` has two element types", brief(key))));
            }
        }
    }
    Ok(lengths)
}

fn is_storage(object: &Pickle<'_>, id: Id) -> bool {
    let Object::Persistent(id) = object.get(id) else { return false };
    object.tuple(*id).and_then(<[Id]>::first).is_some_and(|&kind| object.str(kind) == Some("storage"))
}
