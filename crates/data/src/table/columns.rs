//! What the columns of a table mean: given, or found by name.

use std::collections::HashMap;
use std::path::Path;

use headstart_core::Modality;

use super::{Cell, Row, Table};
use crate::DataError;
use crate::files::{Kind, kind_of};

/// Names that are understood, the likelier first.
const TEXT: &[&str] = &[
    "text",
    "sentence",
    "message",
    "msg",
    "content",
    "review",
    "body",
    "document",
    "question",
    "comment",
    "tweet",
    "utterance",
    "query",
    "headline",
    "sms",
    "description",
];
const IMAGE: &[&str] = &[
    "image",
    "path",
    "file",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "image_path",
    "img_path",
    "image_file",
    "image_name",
    "img",
    "photo",
    "picture",
];
const LABEL: &[&str] = &[
    "label",
    "labels",
    "target",
    "class",
    "category",
    "y",
    "sentiment",
    "class_name",
    "label_name",
    "label_text",
    "intent",
    "topic",
    "species",
    "diagnosis",
];
const SPLIT: &[&str] = &["split", "subset"];
const GROUP: &[&str] = &["group"];

/// The columns that the user named.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    pub(crate) text: Option<&'a str>,
    pub(crate) image: Option<&'a str>,
    pub(crate) label: Option<&'a str>,
    pub(crate) split: Option<&'a str>,
    pub(crate) group: Option<&'a str>,
}

/// Positions of the columns that matter.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) names: Vec<String>,
    pub(super) modality: Modality,
    pub(super) input: usize,
    pub(super) label: usize,
    pub(super) split: Option<usize>,
    pub(super) group: Option<usize>,
}

/// Finds them; what was assumed is noted in the table.  A table of two columns without a header gets one.
pub(super) fn find(path: &Path, table: &mut Table, wanted: &Wanted<'_>) -> Result<Columns, DataError> {
    if table.columns.is_empty() {
        return Err(DataError::Empty { path: path.to_path_buf() });
    }
    if let Some(columns) = without_header(table, wanted) {
        return Ok(columns);
    }
    let finder = Finder { path, names: table.columns.iter().map(|c| c.trim().to_string()).collect() };
    let label = finder.given("label", wanted.label)?;
    let split = finder.given("split", wanted.split)?;
    let group = finder.given("group", wanted.group)?;
    let text = finder.given("text", wanted.text)?;
    let image = finder.given("image", wanted.image)?;

    // What is given is never taken again; what is given for the input is not looked for.
    let mut used: Vec<usize> = [label, split, group, text, image].into_iter().flatten().collect();
    let mut infer = |known: &[&str], given: Option<usize>| {
        let idx = given.or_else(|| finder.inferred(known, &used));
        used.extend(idx);
        idx
    };
    let label = infer(LABEL, label);
    let split = infer(SPLIT, split);
    let group = infer(GROUP, group);
    let free = |used: &[usize]| (0..finder.names.len()).filter(|i| !used.contains(i)).collect::<Vec<_>>();
    let names_of = |idx: &[usize]| idx.iter().map(|i| finder.names[*i].clone()).collect::<Vec<_>>();
    let not_inferred = |what, candidates| DataError::ColumnNotInferred {
        what,
        path: path.to_path_buf(),
        columns: finder.names.clone(),
        candidates,
    };

    let (modality, input) = match (text, image) {
        (Some(t), Some(i)) => return Err(finder.text_or_image(t, i)),
        (Some(t), None) => (Modality::Text, t),
        (None, Some(i)) => (Modality::Image, i),
        (None, None) => match (finder.inferred(TEXT, &used), finder.inferred(IMAGE, &used)) {
            (Some(t), Some(i)) if names_images(&table.rows, i) => return Err(finder.text_or_image(t, i)),
            (Some(t), _) => (Modality::Text, t),
            (None, Some(i)) => (Modality::Image, i),
            (None, None) => {
                let free = free(&used);
                let (Some(_), [only]) = (label, free.as_slice()) else {
                    return Err(match label {
                        Some(_) => not_inferred("text or image", names_of(&free)),
                        None => not_inferred("label", names_of(&free)),
                    });
                };
                let is_image = names_images(&table.rows, *only);
                let modality = if is_image { Modality::Image } else { Modality::Text };
                table.notes.push(format!(
                    "column `{}` is read as the {modality}: no other is left",
                    finder.names[*only]
                ));
                (modality, *only)
            }
        },
    };
    used.push(input);
    let label = label.ok_or_else(|| not_inferred("label", names_of(&free(&used))))?;
    for idx in [Some(input), Some(label), split, group].into_iter().flatten() {
        if finder.names.iter().filter(|n| same(n, &finder.names[idx])).count() > 1 {
            table
                .notes
                .push(format!("column `{}` occurs more than once; the first is read", finder.names[idx]));
        }
    }
    Ok(Columns { names: finder.names, modality, input, label, split, group })
}

struct Finder<'a> {
    path: &'a Path,
    names: Vec<String>,
}

impl Finder<'_> {
    fn given(&self, flag: &'static str, column: Option<&str>) -> Result<Option<usize>, DataError> {
        let Some(column) = column else { return Ok(None) };
        let exact = self.names.iter().position(|n| n == column);
        match exact.or_else(|| self.names.iter().position(|n| same(n, column))) {
            Some(idx) => Ok(Some(idx)),
            None => Err(DataError::ColumnNotFound {
                flag,
                column: column.into(),
                path: self.path.to_path_buf(),
                columns: self.names.clone(),
            }),
        }
    }

    fn inferred(&self, known: &[&str], used: &[usize]) -> Option<usize> {
        let free =
            |k: &&str| self.names.iter().enumerate().position(|(i, n)| same(n, k) && !used.contains(&i));
        known.iter().find_map(free)
    }

    fn text_or_image(&self, text: usize, image: usize) -> DataError {
        let name = |i: usize| self.names[i].clone();
        DataError::TextOrImage { path: self.path.to_path_buf(), text: name(text), image: name(image) }
    }
}

/// Names are equal but for case, stray spaces, and `-`, `_` or a space between words.
fn same(a: &str, b: &str) -> bool {
    let normal = |s: &str| s.trim().to_lowercase().replace(['-', ' '], "_");
    normal(a) == normal(b)
}

/// True if most of the first cells are encoded files or names of image files.
fn names_images(rows: &[Row], idx: usize) -> bool {
    const N_ROWS: usize = 100;
    let cells = rows.iter().filter_map(|r| r.cells.as_ref().ok()?.get(idx)).filter(|c| **c != Cell::Empty);
    let (mut n, mut n_images) = (0, 0);
    for cell in cells.take(N_ROWS) {
        n += 1;
        n_images += usize::from(match cell {
            Cell::Bytes(_) => true,
            Cell::Text(name) => kind_of(Path::new(name.trim())) == Kind::Image,
            _ => false,
        });
    }
    n_images * 2 > n
}

/// Two columns whose first line is an example, not their names: no name is known, and what stands in one of them recurs
/// below as a class does.
fn without_header(table: &mut Table, wanted: &Wanted<'_>) -> Option<Columns> {
    let any_wanted =
        [wanted.text, wanted.image, wanted.label, wanted.split, wanted.group].iter().any(|w| w.is_some());
    let known = |name: &String| [TEXT, IMAGE, LABEL, SPLIT, GROUP].concat().iter().any(|k| same(name, k));
    if any_wanted || table.columns.len() != 2 || table.columns.iter().any(known) {
        return None;
    }
    let n_distinct: Vec<Option<usize>> =
        (0..2).map(|i| n_classes_with(&table.rows, i, &table.columns[i])).collect();
    let label = match n_distinct.as_slice() {
        [Some(a), Some(b)] => usize::from(b < a),
        [Some(_), None] => 0,
        [None, Some(_)] => 1,
        _ => return None,
    };
    let first: Vec<Cell> = table.columns.iter().map(|c| Cell::Text(c.clone())).collect();
    table.rows.insert(0, Row { line: 1, cells: Ok(first) });
    let input = 1 - label;
    let modality = if names_images(&table.rows, input) { Modality::Image } else { Modality::Text };
    let mut names = vec![modality.to_string(); 2];
    names[label] = "label".into();
    table.columns = names.clone();
    table.notes.push(format!(
        "the first line holds no column names; column {} is read as the {modality}, column {} as the label",
        input + 1,
        label + 1
    ));
    Some(Columns { names, modality, input, label, split: None, group: None })
}

/// How many different values a column has, if they are as few as classes are and `first` is one of them.
fn n_classes_with(rows: &[Row], idx: usize, first: &str) -> Option<usize> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for row in rows {
        if let Some(Cell::Text(value)) = row.cells.as_ref().ok().and_then(|c| c.get(idx)) {
            *counts.entry(value.trim()).or_default() += 1;
        }
    }
    let few = counts.len() * 4 <= rows.len() + 4;
    (few && counts.contains_key(first.trim())).then_some(counts.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: &[&str], rows: &[&[&str]]) -> Table {
        let cells = |r: &&[&str]| Ok(r.iter().map(|c| Cell::Text(c.to_string())).collect());
        Table {
            columns: columns.iter().map(|c| c.to_string()).collect(),
            rows: rows.iter().zip(2..).map(|(r, line)| Row { line, cells: cells(r) }).collect(),
            notes: Vec::new(),
        }
    }

    fn found(columns: &[&str], rows: &[&[&str]], wanted: Wanted<'_>) -> Result<Columns, DataError> {
        find(Path::new("photos.csv"), &mut table(columns, rows), &wanted)
    }

    #[test]
    fn names_are_found_in_any_dress() {
        let c = found(&["ID", " Text ", "LABEL", "Split", "group"], &[], Wanted::default()).unwrap();
        assert_eq!((c.modality, c.input, c.label), (Modality::Text, 1, 2));
        assert_eq!((c.split, c.group), (Some(3), Some(4)));
        let c = found(&["label", "File Name"], &[], Wanted::default()).unwrap();
        assert_eq!((c.modality, c.input, c.label), (Modality::Image, 1, 0));
    }

    #[test]
    fn what_is_given_wins() {
        let wanted = Wanted { label: Some("Text"), image: Some("label"), ..Default::default() };
        let c = found(&["text", "label"], &[], wanted).unwrap();
        assert_eq!((c.modality, c.input, c.label), (Modality::Image, 1, 0));
    }

    #[test]
    fn a_single_other_column_is_taken_with_a_note() {
        let mut t = table(&["label", "lyrics"], &[&["sad", "oh"]]);
        let c = find(Path::new("a.csv"), &mut t, &Wanted::default()).unwrap();
        assert_eq!((c.modality, c.input), (Modality::Text, 1));
        assert_eq!(t.notes, ["column `lyrics` is read as the text: no other is left"]);
        let error = found(&["label", "a", "b"], &[], Wanted::default()).unwrap_err();
        assert_eq!(error.hint().as_deref(), Some("pass `--text COLUMN` or `--image COLUMN`, one of: a, b"));
    }

    #[test]
    fn errors_name_columns_and_the_next_thing_to_type() {
        let wanted = Wanted { label: Some("lable"), ..Default::default() };
        let error = found(&["path", "label", "split"], &[], wanted).unwrap_err();
        assert_eq!(error.to_string(), "column `lable` not found in photos.csv (columns: path, label, split)");
        assert_eq!(error.hint().as_deref(), Some("pass `--label label`"));
        let error = found(&["path", "person"], &[], Wanted::default()).unwrap_err();
        assert_eq!(error.to_string(), "no label column found in photos.csv (columns: path, person)");
        assert_eq!(error.hint().as_deref(), Some("pass `--label person`"));
    }

    #[test]
    fn a_text_beside_an_image_is_a_question() {
        let rows: &[&[&str]] = &[&["a.png", "a cat", "1"]];
        let error = found(&["path", "text", "label"], rows, Wanted::default()).unwrap_err();
        assert_eq!(error.hint().as_deref(), Some("pass `--text text` or `--image path`"));
        // A path that names no image is where the text came from.
        let c = found(&["path", "text", "label"], &[&["a.eml", "buy", "1"]], Wanted::default()).unwrap();
        assert_eq!(c.modality, Modality::Text);
    }

    #[test]
    fn a_missing_header_is_noticed() {
        let rows: Vec<[String; 2]> =
            (0..12).map(|i| [format!("sentence {i}"), (i % 2).to_string()]).collect();
        let rows: Vec<Vec<&str>> = rows.iter().map(|r| r.iter().map(String::as_str).collect()).collect();
        let rows: Vec<&[&str]> = rows.iter().map(Vec::as_slice).collect();
        let mut t = table(&["It was good.", "1"], &rows);
        let c = find(Path::new("a.txt"), &mut t, &Wanted::default()).unwrap();
        assert_eq!((c.input, c.label, t.rows.len(), t.rows[0].line), (0, 1, 13, 1));
        assert!(t.notes[0].contains("no column names"));
    }
}
