//! Parquet, row by row, without Arrow.  Image columns as Hugging Face's `datasets` writes them (`{bytes, path}`) and
//! its names of integer classes are understood.

mod pages;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row as Record};
use serde_json::Value;

use super::{Cell, Row, Table};
use crate::DataError;
use crate::files::guarded;

/// Largest product of rows and columns: a few bytes may promise billions of nulls.
const CELLS_MAX: usize = 1 << 28;

/// Reads a Parquet file that is held in memory.
pub(super) fn read(path: &Path, bytes: Vec<u8>) -> Result<Table, DataError> {
    guarded("Parquet", || read_bytes(Bytes::from(bytes))).map_err(|message| DataError::Malformed {
        path: path.to_path_buf(),
        line: None,
        message,
    })
}

fn read_bytes(bytes: Bytes) -> Result<Table, String> {
    let words = |e: parquet::errors::ParquetError| format!("not readable as Parquet: {e}");
    let reader = SerializedFileReader::new(bytes.clone()).map_err(words)?;
    pages::check(&bytes, reader.metadata())?;
    let metadata = reader.metadata().file_metadata();
    let fields = metadata.schema().get_fields();
    let columns: Vec<String> = fields.iter().map(|f| f.name().to_string()).collect();
    let n_rows = usize::try_from(metadata.num_rows()).map_err(|_| "a negative number of rows".to_string())?;
    if n_rows.saturating_mul(columns.len().max(1)) > CELLS_MAX {
        return Err(format!("{n_rows} rows of {} columns are more than are read", columns.len()));
    }
    let names = class_names(&reader, &columns);
    let mut rows = Vec::new();
    // The iterator believes the row groups, not the total.
    for (record, line) in reader.get_row_iter(None).map_err(words)?.take(n_rows).zip(1..) {
        let cells = cells(record.map_err(words)?, &names);
        rows.push(Row { line, cells });
    }
    Ok(Table { columns, rows, notes: Vec::new() })
}

fn cells(record: Record, names: &[Option<Vec<String>>]) -> Result<Vec<Cell>, String> {
    record
        .into_columns()
        .into_iter()
        .zip(names)
        .map(|((name, field), names)| match names {
            Some(names) => class(&name, &field, names),
            None => Ok(cell(field)),
        })
        .collect()
}

fn class(column: &str, field: &Field, names: &[String]) -> Result<Cell, String> {
    let idx = match field {
        Field::Null => return Ok(Cell::Empty),
        Field::Int(i) => i64::from(*i),
        Field::Long(i) => *i,
        other => return Ok(cell(other.clone())),
    };
    // −1 stands for "not labelled" in published test parts.
    let name = usize::try_from(idx).ok().and_then(|i| names.get(i));
    let name =
        name.ok_or_else(|| format!("`{column}` is {idx}; allowed: 0 to {}", names.len().saturating_sub(1)))?;
    Ok(Cell::Text(name.clone()))
}

fn cell(field: Field) -> Cell {
    match field {
        Field::Null => Cell::Empty,
        Field::Str(v) if v.is_empty() => Cell::Empty,
        Field::Str(v) => Cell::Text(v),
        Field::Bool(v) => Cell::Text(v.to_string()),
        Field::Byte(v) => Cell::Text(v.to_string()),
        Field::Short(v) => Cell::Text(v.to_string()),
        Field::Int(v) => Cell::Text(v.to_string()),
        Field::Long(v) => Cell::Text(v.to_string()),
        Field::UByte(v) => Cell::Text(v.to_string()),
        Field::UShort(v) => Cell::Text(v.to_string()),
        Field::UInt(v) => Cell::Text(v.to_string()),
        Field::ULong(v) => Cell::Text(v.to_string()),
        Field::Float(v) => Cell::Text(v.to_string()),
        Field::Double(v) => Cell::Text(v.to_string()),
        Field::Bytes(v) => Cell::Bytes(Arc::from(v.data())),
        Field::Group(record) => image(record),
        Field::ListInternal(_) => Cell::Other("a list"),
        Field::MapInternal(_) => Cell::Other("a map"),
        _ => Cell::Other("neither text nor number"),
    }
}

/// `{bytes, path}`: the bytes if there are any, else the path.
fn image(record: Record) -> Cell {
    let (mut bytes, mut path) = (None, None);
    for (name, field) in record.into_columns() {
        match (name.as_str(), field) {
            ("bytes", Field::Bytes(v)) => bytes = Some(Arc::from(v.data())),
            ("path", Field::Str(v)) => path = Some(v),
            _ => {}
        }
    }
    match (bytes, path) {
        (Some(bytes), _) => Cell::Bytes(bytes),
        (None, Some(path)) => Cell::Text(path),
        (None, None) => Cell::Other("a record without bytes or path"),
    }
}

/// The names of the classes of each integer column, where `datasets` has left them in the file's metadata.
fn class_names(reader: &SerializedFileReader<Bytes>, columns: &[String]) -> Vec<Option<Vec<String>>> {
    let pairs = reader.metadata().file_metadata().key_value_metadata();
    let json = pairs.into_iter().flatten().find(|p| p.key == "huggingface").and_then(|p| p.value.as_deref());
    let features: Option<Value> = json.and_then(|j| serde_json::from_str(j).ok());
    let names = |column: &String| {
        let feature = features.as_ref()?.get("info")?.get("features")?.get(column)?;
        let names =
            feature.get("names").filter(|_| feature.get("_type").is_some_and(|t| t == "ClassLabel"))?;
        names.as_array()?.iter().map(|n| n.as_str().map(String::from)).collect()
    };
    columns.iter().map(names).collect()
}
