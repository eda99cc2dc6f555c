//! Folders: `DIR/CLASS/*` and `DIR/{train,valid,test}/CLASS/*`.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use headstart_core::{Diagnostic, Input, Modality, SplitName, Task};

use crate::assemble::{Candidate, Found, note, some_of};
use crate::files::{Kind, extension, kind_of};
use crate::label::Label;
use crate::{DataError, table};

/// Deepest nesting below a class folder that is read.
const DEPTH_MAX: usize = 32;

/// Finds all examples below `root`, in the order of their relative paths.
pub(crate) fn find(root: &Path, task: Task) -> Result<Found, DataError> {
    let top = list(root)?;
    let mut scan = Scan { root, files: Vec::new(), classes: BTreeSet::new(), diagnostics: Vec::new() };
    let parts: Vec<(&Entry, SplitName)> =
        top.folders.iter().filter_map(|f| Some((f, part_of(&f.name)?))).collect();
    let others: Vec<&Entry> = top.folders.iter().filter(|f| part_of(&f.name).is_none()).collect();
    if is_divided(&parts, &others)? {
        for (folder, part) in parts {
            let inner = list(&folder.path)?;
            scan.outside_classes(&inner);
            for class in inner.folders {
                scan.class(&class, Some(part));
            }
        }
        if !others.is_empty() {
            let names: Vec<String> = others.iter().map(|f| f.name.clone()).collect();
            scan.diagnostics.push(note(
                root,
                format!(
                    "{} neither train, valid nor test, and left out",
                    some_of(&names, "folder", "folders")
                ),
            ));
        }
    } else {
        scan.outside_classes(&top);
        for class in top.folders {
            scan.class(&class, None);
        }
    }
    scan.finish(task)
}

/// Tables that lie directly in a folder, in order.
pub(crate) fn tables_in(root: &Path) -> Result<Vec<PathBuf>, DataError> {
    Ok(list(root)?.files.into_iter().map(|f| f.path).filter(|p| table::is_table_name(p)).collect())
}

/// The part that a folder's name stands for.
fn part_of(name: &str) -> Option<SplitName> {
    crate::split::part_named(name)
}

/// True if the folders are parts rather than classes.  A lone `train` beside other folders may well be a class of
/// vehicles, and so it is one; beside another part it is a part, which must hold folders.
fn is_divided(parts: &[(&Entry, SplitName)], others: &[&Entry]) -> Result<bool, DataError> {
    let Some((train, _)) = parts.iter().find(|(_, part)| *part == SplitName::Train) else { return Ok(false) };
    if parts.len() == 1 && !others.is_empty() {
        return Ok(false);
    }
    let inside = list(&train.path)?;
    let holds_examples = inside.files.iter().any(|f| matches!(kind_of(&f.path), Kind::Image | Kind::Text));
    if inside.folders.is_empty() && parts.len() > 1 && holds_examples {
        // train/*.jpg beside test/*.jpg: these are parts whose classes are elsewhere, not classes.
        let path = train.path.clone();
        let root = path.parent().unwrap_or(&path);
        return Err(DataError::NoClassFolders { tables: tables_in(root)?, path });
    }
    Ok(!inside.folders.is_empty())
}

struct Entry {
    name: String,
    path: PathBuf,
}

#[derive(Default)]
struct Listing {
    folders: Vec<Entry>,
    files: Vec<Entry>,
}

/// The visible entries of a folder by name; links count as what they lead to, and dangling ones as files.
fn list(folder: &Path) -> Result<Listing, DataError> {
    let io = |source| DataError::Io { path: folder.to_path_buf(), source };
    let mut listing = Listing::default();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Hidden files, and the folder that macOS puts into archives.
        if name.starts_with('.') || name == "__MACOSX" {
            continue;
        }
        let entries = if path.is_dir() { &mut listing.folders } else { &mut listing.files };
        entries.push(Entry { name, path });
    }
    listing.folders.sort_by(|a, b| a.path.cmp(&b.path));
    listing.files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(listing)
}

struct Scan<'a> {
    root: &'a Path,
    files: Vec<(Kind, PathBuf, String, Option<SplitName>)>,
    classes: BTreeSet<String>,
    diagnostics: Vec<Diagnostic>,
}

impl Scan<'_> {
    fn class(&mut self, folder: &Entry, part: Option<SplitName>) {
        self.classes.insert(folder.name.clone());
        // By real path, so that links are followed once, and never to what lies above.
        let real = std::fs::canonicalize(&folder.path).unwrap_or_default();
        let mut seen: HashSet<PathBuf> = real.ancestors().skip(1).map(Path::to_path_buf).collect();
        let mut pending = vec![(folder.path.clone(), 0)];
        while let Some((path, depth)) = pending.pop() {
            let inside = match std::fs::canonicalize(&path) {
                Ok(real) if seen.contains(&real) => {
                    self.skip_folder(
                        &path,
                        "leads back to a folder that is read already; it is not followed",
                    );
                    continue;
                }
                Ok(_) if depth > DEPTH_MAX => {
                    self.skip_folder(&path, "is nested too deeply; it is not read");
                    continue;
                }
                Ok(real) => {
                    seen.insert(real);
                    list(&path).map_err(|e| e.to_string())
                }
                Err(error) => Err(error.to_string()),
            };
            let inside = match inside {
                Ok(inside) => inside,
                Err(message) => {
                    self.skip_folder(&path, &format!("cannot be read: {message}"));
                    continue;
                }
            };
            for file in inside.files {
                let kind = kind_of(&file.path);
                if kind != Kind::Other {
                    self.files.push((kind, file.path, folder.name.clone(), part));
                }
            }
            pending.extend(inside.folders.into_iter().map(|f| (f.path, depth + 1)));
        }
    }

    fn skip_folder(&mut self, path: &Path, message: &str) {
        self.diagnostics.push(note(path, message.into()));
    }

    /// Says which images lie where no class is.
    fn outside_classes(&mut self, listing: &Listing) {
        let images = listing.files.iter().filter(|f| kind_of(&f.path) == Kind::Image);
        let names: Vec<String> = images.map(|f| relative(self.root, &f.path)).collect();
        if !names.is_empty() {
            let message = format!("{} in no class folder, and left out", some_of(&names, "image", "images"));
            self.diagnostics.push(note(self.root, message));
        }
    }

    fn finish(mut self, task: Task) -> Result<Found, DataError> {
        let n_of = |kind| self.files.iter().filter(|f| f.0 == kind).count();
        let (n_texts, n_images) = (n_of(Kind::Text), n_of(Kind::Image) + n_of(Kind::ForeignImage));
        if n_texts + n_images == 0 {
            return Err(DataError::NoClassFolders { path: self.root.into(), tables: tables_in(self.root)? });
        }
        let modality = if n_images >= n_texts { Modality::Image } else { Modality::Text };
        let (mut candidates, mut others) = (Vec::new(), Vec::new());
        for (kind, path, label, split) in self.files {
            let id = relative(self.root, &path);
            match (kind, modality) {
                (Kind::Image, Modality::Image) | (Kind::Text, Modality::Text) => {
                    let label = match Label::parse(&label, "the folder's name", task) {
                        Ok(label) => label,
                        Err(message) => {
                            let path = path.display().to_string();
                            self.diagnostics.push(Diagnostic { path, line: None, message, skipped: true });
                            continue;
                        }
                    };
                    let input = Input::File(path);
                    candidates.push(Candidate { id, line: None, input, label, group: None, split });
                }
                (Kind::ForeignImage, Modality::Image) => self.diagnostics.push(Diagnostic {
                    path: path.display().to_string(),
                    line: None,
                    message: format!(
                        "{} is not read; convert it to PNG or JPEG",
                        extension(&path).to_uppercase()
                    ),
                    skipped: true,
                }),
                _ => others.push(id),
            }
        }
        candidates.sort_by(|a, b| a.id.cmp(&b.id));
        if !others.is_empty() {
            others.sort();
            let message = format!(
                "the examples are {modality}s; {} left out",
                some_of(&others, "other file", "other files")
            );
            self.diagnostics.push(note(self.root, message));
        }
        let classes = if task == Task::Classification { self.classes } else { BTreeSet::new() };
        Ok(Found { modality, candidates, classes, diagnostics: self.diagnostics })
    }
}

/// The path below the root, with `/` on every system.
fn relative(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<_> = below.components().map(|c| c.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        dir
    }

    fn ids(found: &Found) -> Vec<&str> {
        found.candidates.iter().map(|c| c.id.as_str()).collect()
    }

    #[test]
    fn classes_nest_and_hidden_files_stay_hidden() {
        let dir = tree(&[
            "b b/ü 1.JPG",
            "a/deep/er/2.png",
            "a/.hidden.png",
            "a/Thumbs.db",
            "README.txt",
            "labels.csv",
        ]);
        let found = find(dir.path(), Task::Classification).unwrap();
        assert_eq!(ids(&found), ["a/deep/er/2.png", "b b/ü 1.JPG"]);
        assert_eq!(found.candidates[0].label, Label::Class("a".into()));
        assert!(found.diagnostics.is_empty(), "{:?}", found.diagnostics);
    }

    #[test]
    fn parts_by_any_of_their_names() {
        let dir = tree(&[
            "Train/a/1.png",
            "Train/b/1.png",
            "validation/a/1.png",
            "testing/b/1.png",
            "extra/c/1.png",
        ]);
        let found = find(dir.path(), Task::Classification).unwrap();
        let parts: Vec<_> = found.candidates.iter().filter_map(|c| c.split).collect();
        assert_eq!(parts, [SplitName::Train, SplitName::Train, SplitName::Test, SplitName::Valid]);
        assert!(found.diagnostics[0].message.contains("extra"), "{:?}", found.diagnostics);
    }

    #[test]
    fn a_train_may_be_a_vehicle() {
        let dir = tree(&["train/1.png", "car/1.png"]);
        assert_eq!(find(dir.path(), Task::Classification).unwrap().classes.len(), 2);
        let dir = tree(&["train/steam/1.png", "car/1.png"]);
        assert_eq!(find(dir.path(), Task::Classification).unwrap().classes.len(), 2);
    }

    #[test]
    fn parts_without_classes_point_to_the_table() {
        let dir = tree(&["train/1.png", "test/1.png", "metadata.csv"]);
        let error = find(dir.path(), Task::Classification).unwrap_err();
        assert!(error.hint().unwrap().ends_with("metadata.csv"), "{error} {:?}", error.hint());
        let dir = tree(&["1.png", "notes/a.pdf"]);
        assert!(find(dir.path(), Task::Classification).unwrap_err().hint().unwrap().contains("DIR/CLASS"));
    }

    #[test]
    fn the_rarer_kind_is_noted_and_left_out() {
        let dir = tree(&["a/1.png", "a/2.png", "b/3.png", "b/notes.txt", "b/new.heic"]);
        let found = find(dir.path(), Task::Classification).unwrap();
        assert_eq!((found.modality, found.candidates.len()), (Modality::Image, 3));
        assert!(found.diagnostics.iter().any(|d| d.skipped && d.message.starts_with("HEIC")));
        assert!(found.diagnostics.iter().any(|d| !d.skipped && d.message.contains("b/notes.txt")));
    }

    #[cfg(unix)]
    #[test]
    fn links_that_lead_back_do_not_hang() {
        let dir = tree(&["a/1.png", "b/1.png"]);
        std::os::unix::fs::symlink(dir.path(), dir.path().join("a/back")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("a"), dir.path().join("a/self")).unwrap();
        let found = find(dir.path(), Task::Classification).unwrap();
        assert_eq!(ids(&found), ["a/1.png", "b/1.png"]);
        assert_eq!(found.diagnostics.iter().filter(|d| d.message.contains("leads back")).count(), 2);
    }
}
