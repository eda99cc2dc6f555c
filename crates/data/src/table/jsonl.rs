//! JSON: an object a line, or one array of objects.

use std::collections::HashMap;
use std::path::Path;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{Cell, Row, Table};
use crate::DataError;

/// Reads JSON lines or a JSON array of objects; the columns are the keys of all objects, in order of appearance.
pub(super) fn read(path: &Path, text: &str) -> Result<Table, DataError> {
    let objects = if text.trim_start().starts_with('[') { array(path, text)? } else { lines(text) };
    let mut columns: Vec<String> = Vec::new();
    let mut column_idx: HashMap<String, usize> = HashMap::new();
    for (_, object) in &objects {
        for key in object.iter().flat_map(Map::keys) {
            if !column_idx.contains_key(key) {
                column_idx.insert(key.clone(), columns.len());
                columns.push(key.clone());
            }
        }
    }
    let rows = objects
        .into_iter()
        .map(|(line, object)| {
            let cells = object.map(|object| {
                let mut cells = vec![Cell::Empty; columns.len()];
                for (key, value) in object {
                    cells[column_idx[&key]] = cell(value);
                }
                cells
            });
            Row { line, cells }
        })
        .collect();
    Ok(Table { columns, rows, notes: Vec::new() })
}

type Numbered = (usize, Result<Map<String, Value>, String>);

fn lines(text: &str) -> Vec<Numbered> {
    let numbered = text.lines().zip(1..).filter(|(l, _)| !l.trim().is_empty());
    numbered.map(|(l, line)| (line, object(l))).collect()
}

fn array(path: &Path, text: &str) -> Result<Vec<Numbered>, DataError> {
    let raw: Vec<&RawValue> = serde_json::from_str(text).map_err(|e| DataError::Malformed {
        path: path.to_path_buf(),
        line: Some(e.line()),
        message: format!("not a JSON array: {e}"),
    })?;
    let (mut byte, mut line) = (0, 1);
    let number = |value: &RawValue| {
        // The value borrows from the text, in order.
        let to = value.get().as_ptr() as usize - text.as_ptr() as usize;
        line += text.as_bytes()[byte..to].iter().filter(|b| **b == b'\n').count();
        byte = to;
        line
    };
    let lines: Vec<usize> = raw.iter().copied().map(number).collect();
    Ok(lines.into_iter().zip(raw.iter().map(|v| object(v.get()))).collect())
}

fn object(json: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(json) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("is not a JSON object".into()),
        // The parser's own line is always 1 here.
        Err(e) => Err(format!("is not JSON, from column {}", e.column())),
    }
}

fn cell(value: Value) -> Cell {
    match value {
        Value::Null => Cell::Empty,
        Value::Bool(v) => Cell::Text(v.to_string()),
        Value::Number(v) => Cell::Text(v.to_string()),
        Value::String(v) if v.is_empty() => Cell::Empty,
        Value::String(v) => Cell::Text(v),
        Value::Array(values) => list(values),
        Value::Object(_) => Cell::Other("a JSON object"),
    }
}

/// Plain values, or something that no cell can be.
fn list(values: Vec<Value>) -> Cell {
    let plain = |value| match cell(value) {
        Cell::Text(text) => Some(text),
        _ => None,
    };
    values
        .into_iter()
        .map(plain)
        .collect::<Option<Vec<String>>>()
        .map_or(Cell::Other("a JSON array"), Cell::List)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_arrays_number_alike() {
        let lines = "\n{\"text\":\"a\",\"label\":1}\n{\"label\":true,\"extra\":[1]}\nnonsense\n3\n";
        let t = read(Path::new("a.jsonl"), lines).unwrap();
        assert_eq!(t.rows.iter().map(|r| r.line).collect::<Vec<_>>(), [2, 3, 4, 5]);
        assert_eq!(t.columns.len(), 3);
        assert!(t.rows[2].cells.is_err() && t.rows[3].cells.is_err());

        let array = "[\n {\"text\":\n\"a\"},\n\n {\"text\":null}, 5]";
        let t = read(Path::new("a.json"), array).unwrap();
        assert_eq!(t.rows.iter().map(|r| r.line).collect::<Vec<_>>(), [2, 5, 5]);
        assert_eq!(t.rows[0].cells.as_ref().unwrap()[0], Cell::Text("a".into()));
        assert_eq!(t.rows[1].cells.as_ref().unwrap()[0], Cell::Empty);
        assert!(t.rows[2].cells.is_err());
    }

    #[test]
    fn a_broken_array_names_its_line() {
        let error = read(Path::new("a.json"), "[\n{\"a\":1},\n{]").unwrap_err();
        assert!(error.to_string().starts_with("a.json:3: "), "{error}");
        // Deep nesting must not overflow the stack.
        assert!(read(Path::new("a.json"), &"[".repeat(1 << 20)).is_err());
    }
}
