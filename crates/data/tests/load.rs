//! Folders and tables as people have them.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use headstart_core::{Dataset, Input, Modality, SplitName, Target, Targets, Task};
use headstart_data::{DataError, LoadOptions, SplitOptions, decode_thumbnail, load, split};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

fn write(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// A grey picture of one pixel.
fn pgm(value: u8) -> Vec<u8> {
    [b"P5 1 1 255\n".as_slice(), &[value]].concat()
}

fn lenient() -> LoadOptions {
    LoadOptions { bad_fraction_max: 0.9, ..Default::default() }
}

fn loaded(path: &Path, options: &LoadOptions) -> Result<Dataset, DataError> {
    load(path, options, &|_, _| {})
}

fn table(name: &str, content: impl AsRef<[u8]>) -> Result<Dataset, DataError> {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), name, content);
    loaded(&dir.path().join(name), &lenient())
}

fn told(dataset: &Dataset) -> String {
    let told = dataset.diagnostics.iter().map(|d| format!("{:?} {} {}\n", d.line, d.skipped, d.message));
    told.collect()
}

#[test]
fn a_validation_folder_judges() {
    let dir = tempfile::tempdir().unwrap();
    for (i, name) in ["train/1/x.pgm", "train/10/y.pgm", "train/9/y.pgm", "val/1/z.pgm"].iter().enumerate() {
        write(dir.path(), name, pgm(i as u8));
    }
    std::fs::create_dir(dir.path().join("train/11")).unwrap();
    let d = loaded(dir.path(), &lenient()).unwrap();
    assert_eq!((d.modality, &d.classes), (Modality::Image, &["1", "9", "10"].map(String::from).to_vec()));
    assert_eq!(d.examples.iter().filter(|e| e.split == Some(SplitName::Test)).count(), 1);
    let told = told(&d);
    assert!(told.contains("the 1 validation examples are the test part"), "{told}");
    assert!(told.contains("class `11` has no readable examples; it is left out"), "{told}");
    assert!(told.contains("2 classes (9, 10) have a single example"), "{told}");
}

#[test]
fn folders_of_texts() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "pos/1.txt", "good");
    write(dir.path(), "neg/1.txt", b"na\xEFve");
    write(dir.path(), "neg/2.txt", " \n");
    let d = loaded(dir.path(), &lenient()).unwrap();
    assert_eq!(d.modality, Modality::Text);
    assert_eq!(d.examples[0].input, Input::Text("naïve".into()));
    let told = told(&d);
    assert!(told.contains("1 file (neg/1.txt) is not UTF-8; read as Latin-1"), "{told}");
    assert!(told.contains("has no text in it"), "{told}");
}

#[test]
fn bad_rows_are_told_by_their_line() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "img/a 1.pgm", pgm(1));
    write(dir.path(), "img/b.pgm", pgm(2));
    let csv = "path, label ,split\nimg/a 1.pgm, x ,train\nimg/none.pgm,x,test\nimg/b.pgm,,train\n\
               img/b.pgm,y,sometimes\n\n,y,test\nimg\\b.pgm,y,Testing \n";
    write(dir.path(), "photos.csv", csv);
    let d = loaded(&dir.path().join("photos.csv"), &lenient()).unwrap();
    let ids: Vec<_> = d.examples.iter().map(|e| (e.id.as_str(), e.split)).collect();
    assert_eq!(ids, [("photos.csv:2", Some(SplitName::Train)), ("photos.csv:8", Some(SplitName::Test))]);
    let told = told(&d);
    for expected in [
        "Some(3) true `",
        "none.pgm`: no such file",
        "Some(4) true `label` is empty",
        "Some(5) true `split` is `sometimes`; allowed: train, valid, test",
        "Some(7) true `path` is empty",
    ] {
        assert!(told.contains(expected), "{expected} is not in\n{told}");
    }

    let error = loaded(&dir.path().join("photos.csv"), &LoadOptions::default()).unwrap_err();
    let shown = error.to_string();
    assert!(
        shown.starts_with("4 of the 6 examples in ") && shown.contains("at most 10 % may be bad"),
        "{shown}"
    );
    assert!(shown.contains("photos.csv:4: `label` is empty"), "{shown}");
}

#[test]
fn tables_in_every_dress() {
    let n = |d: Result<Dataset, DataError>| d.map(|d| (d.examples.len(), d.classes.join("|"))).unwrap();
    let expected = (2, "False|True".to_string());
    assert_eq!(n(table("a.csv", "\u{FEFF}Text,Label\n\"a, b\",True\nc,False\n")), expected);
    assert_eq!(n(table("a.csv", "Text;Label\na, b;True\nc;False\n")), expected);
    assert_eq!(n(table("a.tsv", "Label\tmsg\nTrue\ta\nFalse\tb\n")), expected);
    let expected = (2, "false|true".to_string());
    assert_eq!(
        n(table("a.jsonl", "{\"text\":\"a\",\"label\":true}\n{\"text\":\"b\",\"label\":false}\n")),
        expected
    );
    assert_eq!(
        n(table("a.json", "[{\"text\":\"a\",\"label\":true},\n{\"text\":\"b\",\"label\":false}]")),
        expected
    );
    let d = table("a.csv", b"text,label\nna\xEFve,1\nx,0\n").unwrap();
    assert_eq!(d.examples[0].input, Input::Text("naïve".into()));
    assert!(told(&d).contains("is not UTF-8; read as Latin-1"));
    // A labelled text file without a header, quotes literal.
    let d = table(
        "yelp.txt",
        "Wow... \"Loved\" it.\t1\nNot good.\t0\n\"Bad\" food\t0\nFine\t1\nNice, really\t1\n",
    )
    .unwrap();
    assert_eq!((d.examples.len(), d.examples[0].id.as_str()), (5, "yelp.txt:1"));
    assert_eq!(d.examples[2].input, Input::Text("\"Bad\" food".into()));
}

#[test]
fn what_is_no_data_set_says_so() {
    let hint = |d: Result<Dataset, DataError>| d.unwrap_err().hint().unwrap_or_default();
    assert!(hint(table("a.png", pgm(0))).contains("DIR/CLASS/FILE"));
    assert!(hint(table("a.bin", b"\0\x01\x02")).contains("DIR/CLASS/FILE"));
    assert!(matches!(table("a.csv", "").unwrap_err(), DataError::Empty { .. }));
    assert!(matches!(table("a.csv", "text,label\n").unwrap_err(), DataError::Empty { .. }));
    assert!(matches!(table("a.csv", "text,label\na,1\nb,1\n").unwrap_err(), DataError::OneClass { .. }));
    assert!(loaded(Path::new("/nowhere/at/all"), &lenient()).unwrap_err().hint().is_some());
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a/1.pgm", pgm(1));
    write(dir.path(), "labels.csv", "path,label\n");
    let options = LoadOptions { label: Some("label".into()), ..Default::default() };
    let error = loaded(dir.path(), &options).unwrap_err();
    assert!(error.hint().unwrap().ends_with("labels.csv"), "{error}");
    assert!(loaded(dir.path(), &LoadOptions { bad_fraction_max: 2.0, ..Default::default() }).is_err());
}

/// As Hugging Face's `datasets` writes images: a struct of bytes and path, classes as integers with names aside.
#[test]
fn parquet_with_images_and_class_names() {
    let schema = "message schema { OPTIONAL GROUP image { OPTIONAL BYTE_ARRAY bytes; OPTIONAL BYTE_ARRAY path (UTF8); }
                  OPTIONAL INT64 label; }";
    let features = r#"{"info":{"features":{"label":{"names":["cat","dog"],"_type":"ClassLabel"}}}}"#;
    let properties = WriterProperties::builder()
        .set_compression(parquet::basic::Compression::SNAPPY)
        .set_key_value_metadata(Some(vec![KeyValue::new("huggingface".into(), features.to_string())]))
        .build();
    let mut bytes = Vec::new();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let images: Vec<ByteArray> = [1, 2, 3].map(|v| ByteArray::from(pgm(v))).to_vec();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&images, Some(&[2, 2, 2]), None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&[], Some(&[1, 1, 1]), None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&[1, 0, -1], Some(&[1, 1, 1]), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();

    let d = table("pets.parquet", &bytes).unwrap();
    assert_eq!((d.modality, &d.classes), (Modality::Image, &["cat", "dog"].map(String::from).to_vec()));
    assert_eq!(d.examples[0].input, Input::Bytes(pgm(1).into()));
    assert_eq!(d.examples[0].target, headstart_core::Target::Class(1));
    assert!(told(&d).contains("Some(3) true `label` is -1; allowed: 0 to 1"), "{}", told(&d));
    assert_eq!(&decode_thumbnail(&d.examples[0].input, 64).unwrap()[..2], b"\xFF\xD8");

    // No prefix and no flipped byte of it is fatal.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.parquet");
    for n in 0..bytes.len() {
        std::fs::write(&path, &bytes[..n]).unwrap();
        assert!(loaded(&path, &lenient()).is_err());
        let mut flipped = bytes.clone();
        flipped[n] ^= 0xFF;
        std::fs::write(&path, flipped).unwrap();
        let _ = loaded(&path, &lenient());
    }
}

#[test]
fn the_same_data_loads_and_splits_the_same() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..40u8 {
        write(dir.path(), &format!("{}/ü {i}.pgm", i % 4), pgm(i));
    }
    let (a, b) = (loaded(dir.path(), &lenient()).unwrap(), loaded(dir.path(), &lenient()).unwrap());
    assert_eq!(a.hash(), b.hash());
    let (mut s, _) = split(&a, &SplitOptions::default()).unwrap();
    let (mut t, _) = split(&b, &SplitOptions::default()).unwrap();
    assert_eq!(s.test.open().unwrap(), t.test.open().unwrap());
    assert_eq!((s.train.len(), s.test.len()), (32, 8));
}

fn table_of(task: Task, name: &str, content: &str) -> Result<Dataset, DataError> {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), name, content);
    loaded(&dir.path().join(name), &LoadOptions { task: Some(task), ..lenient() })
}

#[test]
fn several_labels_a_row() {
    let targets = |d: &Dataset| d.examples.iter().map(|e| e.target.clone()).collect::<Vec<_>>();
    let expected = [vec![0, 1], vec![1], vec![], vec![2, 1, 0]].map(|mut c| {
        c.sort_unstable();
        Target::Classes(c)
    });
    let d = table_of(Task::MultiLabel, "a.csv", "text,labels\np,b;a\nq,b\nr,\ns,\"c,b,a\"\n").unwrap();
    assert_eq!(
        (d.task, d.classes.join("|"), targets(&d)),
        (Task::MultiLabel, "a|b|c".into(), expected.to_vec())
    );
    assert_eq!(d.class_counts(), [2, 3, 1]);
    let json = "{\"text\":\"p\",\"labels\":[\"b\",\"a\"]}\n{\"text\":\"q\",\"labels\":\"b\"}\n\
                {\"text\":\"r\",\"labels\":[]}\n{\"text\":\"s\",\"labels\":[\"c\",\"b\",\"a\"]}\n";
    assert_eq!(targets(&table_of(Task::MultiLabel, "a.jsonl", json).unwrap()), expected);
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.jsonl", json);
    let error = loaded(&dir.path().join("a.jsonl"), &LoadOptions::default()).unwrap_err().to_string();
    assert!(
        error.contains("a.jsonl:1: `labels` is a list; several labels need --task multi-label"),
        "{error}"
    );
    let error = table_of(Task::MultiLabel, "a.csv", "text,labels\np,\nq,;\n").unwrap_err();
    assert!(matches!(error, DataError::NoLabel { .. }), "{error}");
}

#[test]
fn numbers_are_kept_and_parts_alike() {
    let rows: String = (0..100).map(|i| format!("text {i},{}\n", (i * 37) % 100)).collect();
    let d = table_of(Task::Regression, "a.csv", &format!("text,target\n{rows}")).unwrap();
    assert_eq!((d.classes.len(), d.n_outputs(), &d.examples[2].target), (0, 1, &Target::Number(74.0)));
    let (mut splits, _) = split(&d, &SplitOptions::default()).unwrap();
    let test = splits.test.open().unwrap().to_vec();
    let Targets::Number(mut numbers) = d.targets(&test) else { panic!("numbers") };
    numbers.sort_by(f64::total_cmp);
    // Two of every ten: low, middle and high numbers judge alike.
    let by_tenth: Vec<usize> =
        (0..10).map(|t| numbers.iter().filter(|v| (**v / 10.0).floor() as usize == t).count()).collect();
    assert_eq!(by_tenth, [2; 10]);
    assert_ne!(
        d.hash(),
        table_of(Task::Regression, "a.csv", &format!("text,target\n{rows}x,1\n")).unwrap().hash()
    );
}

#[test]
fn folders_named_by_numbers() {
    let dir = tempfile::tempdir().unwrap();
    for (i, name) in ["18/a.pgm", "18/b.pgm", "42.5/c.pgm", "old/d.pgm"].iter().enumerate() {
        write(dir.path(), name, pgm(i as u8));
    }
    let d = loaded(dir.path(), &LoadOptions { task: Some(Task::Regression), ..lenient() }).unwrap();
    assert_eq!((d.examples.len(), &d.examples[2].target), (3, &Target::Number(42.5)));
    assert!(
        told(&d).contains("the folder's name` is `old`; --task regression needs a number"),
        "{}",
        told(&d)
    );
}

#[test]
fn a_table_without_a_readable_row_names_the_first() {
    let error = table("open.jsonl", "\n{\"text\": \"a\", \"lab").unwrap_err();
    assert!(error.to_string().contains("open.jsonl:2: is not JSON, from column 18"), "{error}");
}
