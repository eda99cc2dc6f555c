//! What the pages of a Parquet file say they become, before the library believes it and takes the memory.
//!
//! A column chunk is pages one after the other, each behind a header in Thrift's compact protocol, of which the second field is the
//! size of the page once decompressed and the third that in the file.

use parquet::file::metadata::ParquetMetaData;

/// A page may become so large, whatever it is made of.
const PAGE_BYTES: usize = 1 << 24;
/// What a byte of a larger one may become: DEFLATE cannot do more.
const GROWTH_MAX: usize = 1032;
/// Structures inside structures in a header.
const DEPTH_MAX: usize = 8;

/// An error if a page of `bytes`, the whole file, lies about its size or grows beyond measure.
pub(super) fn check(bytes: &[u8], metadata: &ParquetMetaData) -> Result<(), String> {
    for column in metadata.row_groups().iter().flat_map(|group| group.columns()) {
        let name = column.column_path().string();
        let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
        let chunk = usize::try_from(start)
            .ok()
            .zip(usize::try_from(column.compressed_size()).ok())
            .and_then(|(start, len)| bytes.get(start..)?.get(..len));
        let mut rest = chunk.ok_or_else(|| format!("column `{name}` lies beyond the end of the file"))?;
        while !rest.is_empty() {
            let mut header = Header { bytes: rest };
            let [decompressed, compressed] = header
                .sizes()
                .ok_or_else(|| format!("column `{name}` has a page without a proper header"))?;
            if decompressed > PAGE_BYTES.max(compressed.saturating_mul(GROWTH_MAX)) {
                return Err(format!(
                    "column `{name}` has a page of {compressed} bytes that is to become {decompressed}, which is more than is read"
                ));
            }
            let page = header.bytes.get(compressed..);
            rest = page.ok_or_else(|| format!("column `{name}` has a page beyond its end"))?;
        }
    }
    Ok(())
}

/// What is left to be read, from a header on.
struct Header<'a> {
    bytes: &'a [u8],
}

impl Header<'_> {
    /// Bytes of the page, decompressed and as it lies; behind it, the page begins.
    fn sizes(&mut self) -> Option<[usize; 2]> {
        let (mut sizes, mut field) = ([None; 2], 0);
        while let Some(kind) = self.field(&mut field)? {
            match (field, kind) {
                (2 | 3, 5) => sizes[field as usize - 2] = usize::try_from(zigzag(self.varint()?)).ok(),
                _ => self.skip(kind, DEPTH_MAX)?,
            }
        }
        Some([sizes[0]?, sizes[1]?])
    }

    /// The next field's number and kind; no kind at the end of a structure.
    fn field(&mut self, field: &mut i64) -> Option<Option<u8>> {
        let byte = self.byte()?;
        if byte == 0 {
            return Some(None);
        }
        *field = match byte >> 4 {
            0 => zigzag(self.varint()?),
            delta => field.checked_add(i64::from(delta))?,
        };
        Some(Some(byte & 15))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            // True and false.
            1 | 2 => {}
            3 => drop(self.byte()?),
            4..=6 => drop(self.varint()?),
            7 => self.jump(8)?,
            8 => {
                let len = self.varint()?;
                self.jump(len)?;
            }
            // Lists and sets.
            9 | 10 => {
                let byte = self.byte()?;
                let len = if byte >> 4 == 15 { self.varint()? } else { u64::from(byte >> 4) };
                for _ in 0..len {
                    // In a list, booleans are bytes.
                    match byte & 15 {
                        1 | 2 => drop(self.byte()?),
                        kind => self.skip(kind, depth)?,
                    }
                }
            }
            12 => {
                let mut field = 0;
                while let Some(kind) = self.field(&mut field)? {
                    self.skip(kind, depth)?;
                }
            }
            // Maps and what does not exist: no header has one.
            _ => return None,
        }
        Some(())
    }

    fn jump(&mut self, len: u64) -> Option<()> {
        self.bytes = self.bytes.get(usize::try_from(len).ok()?..)?;
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(first)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

fn zigzag(v: u64) -> i64 {
    (v >> 1) as i64 ^ -((v & 1) as i64)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parquet::basic::Compression;
    use parquet::data_type::{ByteArray, ByteArrayType};
    use parquet::file::properties::WriterProperties;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    /// One page of a text column, compressed, behind a dictionary's if it has one.
    fn written(texts: &[String], compression: Compression, has_dictionary: bool) -> Vec<u8> {
        let schema = Arc::new(parse_message_type("message m { required binary text (UTF8); }").unwrap());
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_dictionary_enabled(has_dictionary)
            .set_data_page_size_limit(1 << 24)
            .build();
        let mut bytes = Vec::new();
        let mut file = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties)).unwrap();
        let mut group = file.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let values: Vec<ByteArray> = texts.iter().map(|t| t.as_str().into()).collect();
        column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
        file.close().unwrap();
        bytes
    }

    fn checked(bytes: &[u8]) -> Result<(), String> {
        let reader = SerializedFileReader::new(bytes::Bytes::copy_from_slice(bytes)).unwrap();
        check(bytes, reader.metadata())
    }

    #[test]
    fn what_the_library_writes_is_taken_and_a_page_that_would_become_too_large_is_not() {
        let texts: Vec<String> = (0..500).map(|i| format!("number {}", i % 7)).collect();
        for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY] {
            for has_dictionary in [false, true] {
                assert_eq!(checked(&written(&texts, compression, has_dictionary)), Ok(()));
            }
        }
        let mut bytes = written(&["a".repeat(1_100_000)], Compression::SNAPPY, false);
        assert_eq!(checked(&bytes), Ok(()));
        // The header: its kind, then the size as a number of four bytes, which becomes the largest of that length.
        assert_eq!((&bytes[4..7], bytes[10] < 0x80), (&[0x15, 0x00, 0x15][..], true));
        bytes[7..11].copy_from_slice(&[0xfe, 0xff, 0xff, 0x7f]);
        let error = checked(&bytes).unwrap_err();
        assert!(error.contains("column `text`") && error.contains("134217727"), "{error}");
    }

    #[test]
    fn headers_that_end_early_nest_or_count_too_far_are_refused() {
        let sizes = |bytes: &[u8]| Header { bytes }.sizes();
        assert_eq!(sizes(&[0x15, 0, 0x15, 20, 0x15, 10, 0]), Some([10, 5]));
        assert_eq!(sizes(&[0x15, 0, 0x15, 20, 0x15, 10]), None, "no end");
        assert_eq!(sizes(&[0x15, 0, 0x15, 19, 0x15, 10, 0]), None, "a negative size");
        assert_eq!(sizes(&[0x1c; 64]), None, "structures without end");
        assert_eq!(sizes(&[0x18, 0xff, 0xff, 0xff, 0xff, 0x7f]), None, "a text beyond the end");
        assert_eq!(sizes(&[0x19, 0xf5, 0xff, 0xff, 0xff, 0xff, 0x7f]), None, "a list beyond the end");
    }
}
