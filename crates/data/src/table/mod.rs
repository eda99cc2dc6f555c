//! Tables: one format a file, all read into rows of cells with their physical lines; `columns` finds what they mean.

pub(crate) mod columns;
mod csv;
mod jsonl;
mod parquet;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use headstart_core::{Diagnostic, Input, Modality, Task};

use crate::assemble::{Candidate, Found, note};
use crate::files::{Kind, TABLE_BYTES_MAX, decode_text, extension, kind_of, read};
use crate::label::{Label, shortened};
use crate::{DataError, split};
use columns::{Columns, Wanted};

/// A table in memory.
#[derive(Debug, Default)]
struct Table {
    columns: Vec<String>,
    rows: Vec<Row>,
    /// Remarks on the table as a whole.
    notes: Vec<String>,
}

#[derive(Debug)]
struct Row {
    /// The physical line on which it starts, counted from 1; the row's number in a binary format.
    line: usize,
    /// One cell a column, or why the row cannot be read.
    cells: Result<Vec<Cell>, String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Cell {
    Empty,
    Text(String),
    /// An encoded file.
    Bytes(Arc<[u8]>),
    /// A list of plain values.
    List(Vec<String>),
    /// Something that can be neither a text nor a label: what it is.
    Other(&'static str),
}

/// True if a file's name promises a table that may describe the files beside it.
pub(crate) fn is_table_name(path: &Path) -> bool {
    matches!(extension(path).as_str(), "csv" | "tsv" | "tab" | "jsonl" | "ndjson" | "json" | "parquet")
}

/// Reads the table at `path` and says which candidates it holds.
pub(crate) fn find(path: &Path, wanted: &Wanted<'_>, task: Task) -> Result<Found, DataError> {
    let mut table = read_table(path)?;
    // Keys of objects are the columns: of a file without any, it is said why.
    if let Some(Row { line, cells: Err(message) }) = table.rows.first()
        && table.columns.is_empty()
    {
        let message = message.clone();
        return Err(DataError::Malformed { path: path.into(), line: Some(*line), message });
    }
    let columns = columns::find(path, &mut table, wanted)?;
    let mut diagnostics: Vec<Diagnostic> = table.notes.drain(..).map(|n| note(path, n)).collect();
    let folder = path.parent().unwrap_or(Path::new(""));
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut found = Found {
        modality: columns.modality,
        candidates: Vec::with_capacity(table.rows.len()),
        classes: BTreeSet::new(),
        diagnostics: Vec::new(),
    };
    for row in table.rows {
        let line = row.line;
        let candidate = row.cells.and_then(|mut cells| {
            let label = label_of(&cells, &columns, task)?;
            found.classes.extend(label.names().cloned());
            let split = part_of(&cells, &columns)?;
            let group = group_of(&cells, &columns)?;
            let input =
                input_of(std::mem::replace(&mut cells[columns.input], Cell::Empty), &columns, folder)?;
            Ok(Candidate { id: format!("{name}:{line}"), line: Some(line), input, label, group, split })
        });
        match candidate {
            Ok(candidate) => found.candidates.push(candidate),
            Err(message) => {
                let path = path.display().to_string();
                diagnostics.push(Diagnostic { path, line: Some(line), message, skipped: true });
            }
        }
    }
    found.diagnostics = diagnostics;
    Ok(found)
}

fn read_table(path: &Path) -> Result<Table, DataError> {
    let bytes = read(path, TABLE_BYTES_MAX)?;
    if bytes.starts_with(b"PAR1") {
        return parquet::read(path, bytes);
    }
    match (extension(path).as_str(), kind_of(path)) {
        // The magic number is missing.
        ("parquet", _) => return parquet::read(path, bytes),
        (_, Kind::Image | Kind::ForeignImage) => return Err(DataError::NotData { path: path.into() }),
        _ => {}
    }
    if bytes.iter().take(8192).any(|b| *b == 0)
        && !bytes.starts_with(b"\xFF\xFE")
        && !bytes.starts_with(b"\xFE\xFF")
    {
        return Err(DataError::NotData { path: path.into() });
    }
    let (text, latin1) = decode_text(bytes);
    let is_json = match extension(path).as_str() {
        "json" | "jsonl" | "ndjson" => true,
        "csv" | "tsv" | "tab" => false,
        _ => text.trim_start().starts_with(['{', '[']) && !text.trim_start().starts_with("[]"),
    };
    let mut table = if is_json { jsonl::read(path, &text)? } else { csv::read(path, &text)? };
    if latin1 {
        table.notes.push("is not UTF-8; read as Latin-1".into());
    }
    Ok(table)
}

fn label_of(cells: &[Cell], columns: &Columns, task: Task) -> Result<Label, String> {
    let name = &columns.names[columns.label];
    match &cells[columns.label] {
        Cell::List(names) if task == Task::MultiLabel => Ok(Label::many(names.iter().map(String::as_str))),
        cell => Label::parse(&plain(cell, name)?, name, task),
    }
}

fn part_of(cells: &[Cell], columns: &Columns) -> Result<Option<headstart_core::SplitName>, String> {
    let Some(idx) = columns.split else { return Ok(None) };
    let name = &columns.names[idx];
    let value = plain(&cells[idx], name)?;
    split::part_named(&value)
        .map(Some)
        .ok_or_else(|| format!("`{name}` is `{}`; allowed: train, valid, test", shortened(&value)))
}

fn group_of(cells: &[Cell], columns: &Columns) -> Result<Option<String>, String> {
    let Some(idx) = columns.group else { return Ok(None) };
    let value = plain(&cells[idx], &columns.names[idx])?;
    // An example without a group stands alone.
    Ok(Some(value.trim().to_string()).filter(|v| !v.is_empty()))
}

fn input_of(cell: Cell, columns: &Columns, folder: &Path) -> Result<Input, String> {
    let name = &columns.names[columns.input];
    match (columns.modality, cell) {
        (_, Cell::Empty) => Err(format!("`{name}` is empty")),
        (_, Cell::Other(what)) => Err(format!("`{name}` is {what}")),
        (_, Cell::List(_)) => Err(format!("`{name}` is a list")),
        (Modality::Image, Cell::Bytes(bytes)) => Ok(Input::Bytes(bytes)),
        (Modality::Text, Cell::Bytes(_)) => Err(format!("`{name}` is binary, not a text")),
        (_, Cell::Text(text)) if text.trim().is_empty() => Err(format!("`{name}` is empty")),
        (Modality::Text, Cell::Text(text)) => Ok(Input::Text(text.into())),
        (Modality::Image, Cell::Text(text)) => {
            let file = folder.join(text.trim());
            // A table made on Windows, read elsewhere.
            let turned = text.contains('\\') && !file.exists();
            Ok(Input::File(if turned { folder.join(text.trim().replace('\\', "/")) } else { file }))
        }
    }
}

/// A cell as a label, a part or a group.
fn plain<'a>(cell: &'a Cell, name: &str) -> Result<Cow<'a, str>, String> {
    match cell {
        Cell::Empty => Ok("".into()),
        Cell::Text(text) => Ok(text.into()),
        Cell::Bytes(bytes) => {
            std::str::from_utf8(bytes).map(Cow::from).map_err(|_| format!("`{name}` is binary"))
        }
        Cell::Other(what) => Err(format!("`{name}` is {what}")),
        Cell::List(_) => Err(format!("`{name}` is a list; several labels need --task multi-label")),
    }
}
