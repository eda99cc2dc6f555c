//! Wrong input: a clear error or a reported skip, exit code 2 or 3, and no half-written file.

use std::fs;
use std::process::Command;

use crate::fixtures::{Answer, Place};

/// Fits what lies in `photos` with a random network.
fn fit(place: &Place, data: &str, more: &[&str]) -> Answer {
    let source = place.squeezenet();
    let mut args = vec![
        "fit",
        data,
        "--source",
        source.to_str().unwrap(),
        "--arch",
        "squeezenet1_1",
        "--out",
        "run",
        "--baseline-budget",
        "0",
        "--json",
    ];
    args.extend(more);
    place.run(&args)
}

fn no_bundle(place: &Place) {
    assert!(!place.path("run/bundle").exists());
    if place.path("run").is_dir() {
        for entry in fs::read_dir(place.path("run")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(["plan.toml", "events.jsonl"].contains(&name.as_str()), "left behind: {name}");
        }
    }
}

#[test]
fn a_truncated_picture_and_a_text_called_jpg_are_skipped_and_reported() {
    let place = Place::new();
    let data = place.pictures("photos", 20);
    let whole = fs::read(data.join("red/0.png")).unwrap();
    fs::write(data.join("red/0.png"), &whole[..whole.len() / 2]).unwrap();
    fs::write(data.join("blue/note.jpg"), "not a picture").unwrap();
    let answer = fit(&place, "photos", &[]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    assert_eq!(answer.json()["n_skipped"], 2);
    let metrics = fs::read_to_string(place.path("run/metrics.json")).unwrap();
    assert!(metrics.contains("note.jpg") && metrics.contains("red/0.png"), "{metrics}");
    let check = place.run(&["check", "photos"]);
    assert_eq!(check.code, 1);
    assert!(check.stderr.contains("note.jpg") && check.stderr.contains("red/0.png"), "{}", check.stderr);
    // Above the limit the run stops.
    let stopped = fit(&place, "photos", &["--bad-fraction-max", "0.01"]);
    assert_eq!(stopped.code, 2, "{}", stopped.stderr);
}

#[test]
fn an_empty_class_folder_is_left_out_with_a_note_and_one_class_is_an_error() {
    let place = Place::new();
    let data = place.pictures("photos", 6);
    fs::create_dir(data.join("ultraviolet")).unwrap();
    let answer = fit(&place, "photos", &[]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    assert!(fs::read_to_string(place.path("run/metrics.json")).unwrap().contains("ultraviolet"));
    fs::remove_dir_all(place.path("run")).unwrap();

    fs::write(place.path("one.csv"), "text,label\na,x\nb,x\nc,x\n").unwrap();
    let answer = place.run(&["fit", "one.csv", "--source", "minilm-l6", "--out", "run"]);
    assert_eq!(answer.code, 2);
    assert!(!place.path("run").exists(), "nothing was to be said there");
    assert!(answer.stderr.contains("class"), "{}", answer.stderr);
    no_bundle(&place);
}

#[test]
fn a_missing_column_names_the_columns_and_the_flag() {
    let place = Place::new();
    place.sentences(10);
    let answer =
        place.run(&["fit", "sentences.csv", "--label", "lable", "--source", "minilm-l6", "--out", "run"]);
    assert_eq!(answer.code, 2);
    assert_eq!(
        answer.stderr,
        "error: column `lable` not found in sentences.csv (columns: text, label)\n\nhint: pass `--label label`\n"
    );
    no_bundle(&place);
}

#[test]
fn a_hostile_pth_is_refused_and_not_executed() {
    let place = Place::new();
    place.pictures("photos", 4);
    let witness = place.path("executed");
    // A pickle that calls os.system, as protocol 2 writes it.
    let mut pickle = b"\x80\x02cposix\nsystem\nX".to_vec();
    let command = format!("touch {}", witness.display());
    pickle.extend((command.len() as u32).to_le_bytes());
    pickle.extend(command.bytes());
    pickle.extend(b"\x85R.");
    fs::write(place.path("evil.pth"), pickle).unwrap();
    let answer =
        place.run(&["fit", "photos", "--source", "evil.pth", "--arch", "squeezenet1_1", "--out", "run"]);
    assert_eq!(answer.code, 2, "{}", answer.stderr);
    assert!(answer.stderr.contains("evil.pth"), "{}", answer.stderr);
    assert!(!witness.exists());
    no_bundle(&place);
}

#[test]
fn a_huge_png_header_takes_no_memory() {
    let place = Place::new();
    let data = place.pictures("photos", 12);
    let mut png = fs::read(data.join("red/1.png")).unwrap();
    // Width and height stand at bytes 16 to 24; the checksum of the header does not matter to a size check.
    png[16..20].copy_from_slice(&60_000u32.to_be_bytes());
    png[20..24].copy_from_slice(&60_000u32.to_be_bytes());
    fs::write(data.join("red/huge.png"), png).unwrap();
    let answer = fit(&place, "photos", &[]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    assert_eq!(answer.json()["n_skipped"], 1);
    assert!(answer.json()["peak_mb"].as_f64().is_none_or(|mb| mb < 2000.0), "{}", answer.stdout);
}

#[test]
fn requests_that_make_no_sense_are_errors_with_hints() {
    let place = Place::new();
    place.pictures("photos", 4);
    place.sentences(10);
    for (args, words) in [
        (&["fit", "nowhere", "--source", "minilm-l6"][..], "nowhere"),
        (&["fit", "photos", "--source", "efficientnet-lit0"], "efficientnet-lite0"),
        (&["fit", "photos", "--source", "minilm-l6"], ""),
        (&["fit", "photos", "--recipe", "prob"], "probe"),
        (&["fit", "photos", "--test-fraction", "1.5"], "1.5"),
        (&["fit", "photos", "--set", "n_folds=1"], "n_folds"),
        (&["fit", "photos", "--device", "abacus"], "abacus"),
        (&["predict", "photos", "x.png"], "photos"),
        (&["sources", "show", "resnet1"], "resnet"),
    ] {
        let answer = place.run(args);
        assert_eq!(answer.code, 2, "{args:?}: {}", answer.stderr);
        assert!(
            answer.stderr.starts_with("error: ") && answer.stderr.contains(words),
            "{args:?}: {}",
            answer.stderr
        );
    }
}

#[test]
fn a_folder_that_is_no_run_is_never_overwritten() {
    let place = Place::new();
    place.pictures("photos", 4);
    fs::create_dir(place.path("run")).unwrap();
    fs::write(place.path("run/thesis.txt"), "years of work").unwrap();
    let answer = fit(&place, "photos", &[]);
    assert_eq!(answer.code, 2);
    assert_eq!(fs::read_to_string(place.path("run/thesis.txt")).unwrap(), "years of work");
}

#[test]
fn integers_are_for_what_does_not_learn() {
    let place = Place::new();
    let data = place.pictures("photos", 8);
    for recipe in ["full", "auto"] {
        let answer = fit(&place, "photos", &["--precision", "int8", "--recipe", recipe]);
        assert_eq!(answer.code, 2, "{recipe}: {}", answer.stderr);
        assert!(answer.stderr.contains("no gradients"), "{}", answer.stderr);
    }
    let answer = fit(&place, "photos", &["--precision", "int8"]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let plan = fs::read_to_string(place.path("run/plan.toml")).unwrap();
    assert!(plan.contains("precision = \"int8\""), "{plan}");
    // Opening the bundle replays what it predicted in integers.
    let picture = data.join("red/0.png");
    assert_eq!(place.run(&["predict", "run", picture.to_str().unwrap()]).code, 0);
}

#[test]
fn a_reader_that_has_read_enough_ends_it_quietly() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let made = Command::new(env!("CARGO_BIN_EXE_headstart")).arg("sources").stdout(writer).output().unwrap();
    assert_eq!((made.status.code(), String::from_utf8(made.stderr).unwrap()), (Some(141), String::new()));
}
