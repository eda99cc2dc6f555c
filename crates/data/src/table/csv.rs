//! Tables of delimited text: CSV, TSV and their relatives.
//!
//! The delimiter is told by the extension (`.tsv`, `.tab`) or by which of comma, tab, semicolon and bar divides the
//! first lines alike.  Quotes follow RFC 4180, except that tab-separated files often mean them literally: if a field
//! begins with a quote that is not the first of a pair around it, and every line has as many tabs as the header, then
//! all quotes of that file are text.

use std::path::Path;

use super::{Cell, Row, Table, extension};
use crate::DataError;

/// Reads delimited text whose first line names the columns.
pub(super) fn read(path: &Path, text: &str) -> Result<Table, DataError> {
    let delimiter = match extension(path).as_str() {
        "tsv" | "tab" => b'\t',
        _ => sniff(text),
    };
    let literal = delimiter == b'\t' && quotes_are_literal(text);
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .quoting(!literal)
        .flexible(true)
        .has_headers(false)
        .from_reader(text.as_bytes());

    let malformed = |error: csv::Error| {
        let line = error.position().map(|p| p.line() as usize);
        DataError::Malformed { path: path.to_path_buf(), line, message: error.to_string() }
    };
    let mut table = Table::default();
    let mut record = csv::StringRecord::new();
    let mut lines = LineCounter { text, byte: 0, line: 1 };
    while reader.read_record(&mut record).map_err(malformed)? {
        let line = lines.at(record.position().map_or(0, |p| p.byte() as usize));
        if table.columns.is_empty() {
            table.columns = record.iter().map(String::from).collect();
            continue;
        }
        let (n, n_columns) = (record.len(), table.columns.len());
        // Spreadsheets leave lines of nothing but delimiters behind.
        if record.iter().all(|f| f.trim().is_empty()) && n_columns > 1 {
            continue;
        }
        let cells = if n == n_columns {
            Ok(record.iter().map(cell).collect())
        } else {
            let quote = if n > n_columns { "; is a field with the delimiter in it unquoted?" } else { "" };
            Err(format!("has {n} fields where the header has {n_columns}{quote}"))
        };
        table.rows.push(Row { line, cells });
    }
    if literal {
        table.notes.push("quotes are read as part of the text".into());
    }
    Ok(table)
}

fn cell(field: &str) -> Cell {
    if field.is_empty() { Cell::Empty } else { Cell::Text(field.into()) }
}

/// Physical lines by byte offset, for offsets that only grow.
struct LineCounter<'a> {
    text: &'a str,
    byte: usize,
    line: usize,
}

impl LineCounter<'_> {
    /// The line of the first byte from `byte` on that does not end a line: records come after blank lines.
    fn at(&mut self, byte: usize) -> usize {
        let bytes = self.text.as_bytes();
        let mut to = byte.clamp(self.byte, bytes.len());
        while bytes.get(to).is_some_and(|b| matches!(b, b'\n' | b'\r')) {
            to += 1;
        }
        // Files of old Macintoshes end lines by \r alone.
        let passed = &bytes[self.byte..to];
        self.line += passed
            .iter()
            .enumerate()
            .filter(|(i, b)| **b == b'\n' || **b == b'\r' && bytes.get(self.byte + i + 1) != Some(&b'\n'))
            .count();
        self.byte = to;
        self.line
    }
}

/// The delimiter that most consistently divides the first lines.
fn sniff(text: &str) -> u8 {
    const N_LINES: usize = 50;
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).take(N_LINES).collect();
    let Some(header) = lines.first() else { return b',' };
    let score = |delimiter: char| {
        let n = count_outside_quotes(header, delimiter);
        let alike = lines.iter().filter(|l| count_outside_quotes(l, delimiter) == n).count();
        if n == 0 { 0 } else { alike }
    };
    // Of equals the first, by how seldom it occurs inside of fields.
    let mut best = (b',', 0);
    for delimiter in ['\t', ';', ',', '|'] {
        let score = score(delimiter);
        if score > best.1 {
            best = (delimiter as u8, score);
        }
    }
    best.0
}

fn count_outside_quotes(line: &str, delimiter: char) -> usize {
    let mut inside = false;
    line.chars()
        .filter(|&c| {
            inside ^= c == '"';
            c == delimiter && !inside
        })
        .count()
}

fn quotes_are_literal(text: &str) -> bool {
    let mut lines = text.lines().filter(|l| !l.is_empty());
    let Some(header) = lines.next() else { return false };
    let n = header.split('\t').count();
    let mut odd = false;
    for line in lines {
        let fields = line.split('\t');
        if fields.clone().count() != n {
            return false;
        }
        odd |= fields.into_iter().any(|f| f.starts_with('"') && !is_quoted(f));
    }
    odd
}

/// True for a quote, text in which quotes are doubled, and a quote.
fn is_quoted(field: &str) -> bool {
    let inner = field.strip_prefix('"').and_then(|f| f.strip_suffix('"'));
    inner.is_some_and(|f| !f.replace("\"\"", "").contains('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, text: &str) -> Table {
        read(Path::new(name), text).unwrap()
    }

    fn cells(row: &Row) -> Vec<&str> {
        let text = |c| match c {
            &Cell::Empty => "",
            Cell::Text(t) => t.as_str(),
            other => panic!("{other:?}"),
        };
        row.cells.as_ref().unwrap().iter().map(text).collect()
    }

    #[test]
    fn lines_are_physical() {
        let t = table("a.csv", "text,label\r\n\r\n\"two\r\nlines\",1\r\n\n,\nlast,0");
        assert_eq!(t.rows.iter().map(|r| r.line).collect::<Vec<_>>(), [3, 7]);
        assert_eq!(cells(&t.rows[0]), ["two\r\nlines", "1"]);
        let t = table("a.csv", "text,label\ra,1\rb,2");
        assert_eq!(t.rows.iter().map(|r| r.line).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn delimiters_are_told_apart() {
        for (delimiter, text) in
            [(b';', "a;b\n1,5;2\n"), (b'\t', "a\tb\nx, y\tz\n"), (b'|', "a|b\n1|2\n"), (b',', "")]
        {
            assert_eq!(sniff(text), delimiter, "{text}");
        }
        assert_eq!(sniff("text,label\n\"a;b;c\",1\nd;e,0\n"), b',');
    }

    #[test]
    fn quotes_in_tab_separated_text() {
        let t = table("a.tsv", "label\tmsg\nham\t\"Happy day\" I know\nspam\t\"x\n");
        assert_eq!(cells(&t.rows[0])[1], "\"Happy day\" I know");
        assert_eq!(cells(&t.rows[1])[1], "\"x");
        assert_eq!(t.notes.len(), 1);
        let t = table("a.tsv", "label\tmsg\nham\t\"say \"\"hi\"\"\"\nspam\t\"two\nlines\"\n");
        assert_eq!(cells(&t.rows[0])[1], "say \"hi\"");
        assert_eq!(cells(&t.rows[1])[1], "two\nlines");
        assert!(t.notes.is_empty());
    }

    #[test]
    fn a_row_of_another_width_is_bad() {
        let t = table("a.csv", "text,label\nwell, well,1\nshort\nok,1\n");
        assert!(t.rows[0].cells.as_ref().unwrap_err().contains("3 fields where the header has 2"));
        assert!(t.rows[1].cells.is_err());
        assert!(t.rows[2].cells.is_ok());
    }
}
