//! The frontier's features on disk: computed once for each example under each frozen prefix.
//!
//! A folder a prefix; in it, immutable *segments*, each written whole and made visible by rename.  Two processes may
//! extract the same examples at once: each writes segments of its own, and a reader takes whichever it finds.  A
//! segment that does not match its checksum is deleted, never believed.  The cache may be deleted at any time.
//!
//! ```text
//! segment = "HSFEAT2\0" | rows u32 | rows × (key [32] | n u32 | values [n] f32) | blake3 [32]
//! ```

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const MAGIC: &[u8; 8] = b"HSFEAT2\0";
const HEADER: usize = 12;
const CHECKSUM: usize = 32;

/// Features of many prefixes, bounded in size.
#[derive(Debug, Clone)]
pub(crate) struct FeatureCache {
    root: PathBuf,
    bytes_max: u64,
}

/// Features of one prefix.
#[derive(Debug)]
pub(crate) struct PrefixCache {
    dir: PathBuf,
}

impl FeatureCache {
    /// A cache in `root` that is evicted, least recently used first, down to `bytes_max`.
    pub(crate) fn new(root: PathBuf, bytes_max: u64) -> Self {
        FeatureCache { root, bytes_max }
    }

    /// The part for one prefix, named by the hash of all that its features depend on.
    pub(crate) fn prefix(&self, key: &blake3::Hash) -> PrefixCache {
        PrefixCache { dir: self.root.join(&key.to_hex()[..32]) }
    }

    /// Size above which it is evicted, bytes.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Its size now, bytes.
    pub(crate) fn size(&self) -> u64 {
        self.segments().map_or(0, |all| all.iter().map(|s| s.1).sum())
    }

    /// Deletes the least recently used segments until the cache fits.  Losing a race for a file is no error.
    pub(crate) fn evict(&self) -> io::Result<()> {
        let segments = self.segments()?;
        let mut total: u64 = segments.iter().map(|s| s.1).sum();
        for (_, bytes, path) in segments {
            if total <= self.bytes_max {
                break;
            }
            if fs::remove_file(path).is_ok() {
                total -= bytes;
            }
        }
        Ok(())
    }

    /// Time of last use, bytes and path of every segment, least recently used first.
    fn segments(&self) -> io::Result<Vec<(SystemTime, u64, PathBuf)>> {
        let mut segments = Vec::new();
        for prefix in list(&self.root)? {
            for path in list(&prefix)? {
                if let Ok(meta) = fs::metadata(&path) {
                    segments.push((meta.modified().unwrap_or(SystemTime::UNIX_EPOCH), meta.len(), path));
                }
            }
        }
        segments.sort();
        Ok(segments)
    }
}

impl PrefixCache {
    /// The cached features of those of `wanted` that are there.
    pub(crate) fn read(&self, wanted: &HashSet<[u8; 32]>) -> io::Result<HashMap<[u8; 32], Vec<f32>>> {
        let mut found = HashMap::new();
        let now = SystemTime::now();
        for path in list(&self.dir)? {
            if found.len() == wanted.len() {
                break;
            }
            if path.extension().is_none_or(|e| e != "seg") {
                continue;
            }
            let Ok(bytes) = fs::read(&path) else { continue };
            let Some(rows) = rows(&bytes) else {
                tracing::warn!("{} is damaged and was deleted", path.display());
                let _ = fs::remove_file(&path);
                continue;
            };
            let mut used = false;
            for (key, values) in rows {
                if wanted.contains(&key) && !found.contains_key(&key) {
                    let values = values.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
                    found.insert(key, values);
                    used = true;
                }
            }
            if used && let Ok(file) = fs::File::options().append(true).open(&path) {
                // The time of last use is what eviction goes by; failing to set it costs nothing but order.
                let _ = file.set_modified(now);
            }
        }
        Ok(found)
    }

    /// Writes one segment.
    pub(crate) fn write(&self, rows: &[([u8; 32], Vec<f32>)]) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let n_values: usize = rows.iter().map(|(_, values)| values.len()).sum();
        let mut bytes = Vec::with_capacity(HEADER + rows.len() * 36 + 4 * n_values + CHECKSUM);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&(rows.len() as u32).to_le_bytes());
        for (key, values) in rows {
            bytes.extend_from_slice(key);
            bytes.extend_from_slice(&(values.len() as u32).to_le_bytes());
            values.iter().for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
        }
        let checksum = blake3::hash(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        file.write_all(&bytes)?;
        file.as_file().sync_all()?;
        // Named by content: the same rows twice are one file.
        file.persist(self.dir.join(format!("{}.seg", &checksum.to_hex()[..16]))).map_err(|e| e.error)?;
        Ok(())
    }
}

/// The rows of a segment, if it is whole.
fn rows(bytes: &[u8]) -> Option<Vec<([u8; 32], &[u8])>> {
    let (body, checksum) = bytes.split_at(bytes.len().checked_sub(CHECKSUM)?);
    let header = body.get(..HEADER)?;
    if &header[..8] != MAGIC || blake3::hash(body).as_bytes() != checksum {
        return None;
    }
    let number = |bytes: &[u8]| bytes.try_into().map(u32::from_le_bytes).ok();
    let mut rest = &body[HEADER..];
    let mut rows = Vec::new();
    for _ in 0..number(&header[8..12])? {
        let (key, after) = rest.split_at_checked(32)?;
        let (n, after) = after.split_at_checked(4)?;
        let (values, after) = after.split_at_checked(4 * number(n)? as usize)?;
        rows.push((key.try_into().ok()?, values));
        rest = after;
    }
    rest.is_empty().then_some(rows)
}

/// The entries of a folder in order of name; none if it does not exist.
fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut paths = entries.map(|e| Ok(e?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(n: u8) -> Vec<([u8; 32], Vec<f32>)> {
        (0..n).map(|i| ([i; 32], vec![f32::from(i), 0.5, -1.0])).collect()
    }

    fn all(n: u8) -> HashSet<[u8; 32]> {
        (0..n).map(|i| [i; 32]).collect()
    }

    #[test]
    fn what_was_written_is_read_and_a_damaged_segment_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = FeatureCache::new(dir.path().into(), u64::MAX);
        let prefix = cache.prefix(&blake3::hash(b"net"));
        prefix.write(&rows(4)).unwrap();
        let found = prefix.read(&all(9)).unwrap();
        assert_eq!(found.len(), 4);
        assert_eq!(found[&[2; 32]], [2.0, 0.5, -1.0]);

        let segment = list(&prefix.dir).unwrap().remove(0);
        let mut bytes = fs::read(&segment).unwrap();
        for cut in [0, 10, bytes.len() - 1] {
            fs::write(&segment, &bytes[..cut]).unwrap();
            assert!(prefix.read(&all(9)).unwrap().is_empty());
            assert!(!segment.exists());
        }
        bytes[60] ^= 1;
        fs::write(&segment, &bytes).unwrap();
        assert!(prefix.read(&all(9)).unwrap().is_empty());
    }

    #[test]
    fn eviction_keeps_the_cache_within_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let cache = FeatureCache::new(dir.path().into(), 420);
        let prefix = cache.prefix(&blake3::hash(b"net"));
        for i in 0..5u8 {
            prefix.write(&[([i; 32], vec![1.0; 3]), ([i + 100; 32], vec![2.0; 3])]).unwrap();
        }
        cache.evict().unwrap();
        let left: u64 = list(&prefix.dir).unwrap().iter().map(|p| fs::metadata(p).unwrap().len()).sum();
        assert!(left <= 420 && left > 0, "{left} bytes");
    }

    #[test]
    fn two_writers_at_once_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let cache = FeatureCache::new(dir.path().into(), u64::MAX);
        std::thread::scope(|s| {
            for t in 0..4u8 {
                let prefix = cache.prefix(&blake3::hash(b"net"));
                s.spawn(move || {
                    for i in 0..8u8 {
                        prefix.write(&[([t * 8 + i; 32], vec![f32::from(i); 3])]).unwrap();
                    }
                });
            }
        });
        assert_eq!(cache.prefix(&blake3::hash(b"net")).read(&all(40)).unwrap().len(), 32);
    }
}
