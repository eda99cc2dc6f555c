//! `predict`: files, folders or texts through a bundle.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use headstart::{Error, Input, Modality, Prediction, Predictor, Session, Task};
use serde_json::json;

use super::bundle_dir;
use crate::args::PredictArgs;
use crate::output;

/// Predicts; an input that cannot be read is reported, and the exit code is 2 if there was any.
pub(crate) fn run(session: &Session, args: &PredictArgs, as_json: bool) -> Result<u8, Error> {
    let predictor = Predictor::open(&bundle_dir(&args.bundle), session.device())?;
    let inputs = inputs(&args.inputs, predictor.manifest().modality)?;
    let contents: Vec<Input> = inputs.iter().map(|(_, input)| input.clone()).collect();
    let answers = predictor.predict(&contents, &|_| {})?;
    let labels = predictor.labels();
    let mut code = 0;
    for ((name, _), answer) in inputs.iter().zip(answers) {
        let p = match answer {
            Ok(p) => p,
            Err(e) => {
                code = 2;
                eprintln!("error: {e}");
                if as_json {
                    output::json(&json!({"input": name, "error": e.to_string()}));
                }
                continue;
            }
        };
        if as_json {
            output::json(&as_object(name, &p, labels));
        } else if let Some(value) = p.value() {
            println!("{name}: {value}");
        } else {
            let mut order: Vec<usize> = (0..labels.len()).collect();
            order.sort_by(|&a, &b| p.outputs[b].total_cmp(&p.outputs[a]).then(a.cmp(&b)));
            let top: Vec<String> = order
                .iter()
                .take(args.top.max(1))
                .map(|&i| format!("{} {:.1} %", labels[i], 100.0 * p.outputs[i]))
                .collect();
            println!("{name}: {}", top.join(", "));
        }
    }
    Ok(code)
}

/// One answer for programs: the class, the labels that apply, or the number, with all probabilities.
fn as_object(name: &str, p: &Prediction, labels: &[String]) -> serde_json::Value {
    let all: serde_json::Map<_, _> =
        labels.iter().zip(&p.outputs).map(|(l, p)| (l.clone(), json!(p))).collect();
    match p.task {
        Task::Classification => json!({
            "input": name,
            "label": labels[p.class_idx()],
            "probability": p.outputs[p.class_idx()],
            "probabilities": all,
        }),
        Task::MultiLabel => json!({
            "input": name,
            "labels": p.label_idx().into_iter().map(|c| labels[c].as_str()).collect::<Vec<_>>(),
            "probabilities": all,
        }),
        Task::Regression => json!({"input": name, "value": p.value()}),
    }
}

/// Names and contents of what the user asked for.
pub(super) fn inputs(arguments: &[String], modality: Modality) -> Result<Vec<(String, Input)>, Error> {
    let mut all = Vec::new();
    for argument in arguments {
        match modality {
            Modality::Text if argument == "-" => {
                for line in std::io::stdin().lock().lines() {
                    let line = line.map_err(|source| Error::Io { path: "standard input".into(), source })?;
                    all.push((line.clone(), Input::Text(line.into())));
                }
            }
            Modality::Text => {
                let path = Path::new(argument);
                let text = if path.is_file() {
                    std::fs::read_to_string(path).map_err(|source| Error::Io { path: path.into(), source })?
                } else {
                    argument.clone()
                };
                all.push((argument.clone(), Input::Text(text.into())));
            }
            Modality::Image => {
                for path in files(Path::new(argument))? {
                    all.push((path.display().to_string(), Input::File(path)));
                }
            }
        }
    }
    Ok(all)
}

/// A file, or the files of a folder in order of name.
fn files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    if !path.is_dir() {
        return Ok(vec![path.into()]);
    }
    let io = |source| Error::Io { path: path.into(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(io)? {
        let entry = entry.map_err(io)?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if !hidden && entry.path().is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}
