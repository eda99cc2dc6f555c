//! Numbers and several labels, the whole way: fit, seal, predict, evaluate; and what is refused.

use crate::fixtures::{Place, contents};

#[test]
fn numbers_from_table_to_bundle_and_back() {
    let place = Place::new();
    let (data, source) = (place.prices(120), place.sentence_encoder());
    let (data, source) = (data.to_str().unwrap(), source.to_str().unwrap());
    let fit = |out: &str, threads: &str| {
        let task = ["--task", "regression", "--set", "baseline_passes_max=2"];
        let whole =
            [&["fit", data, "--source", source, "--out", out, "--threads", threads, "--json"], &task[..]];
        place.run(&whole.concat())
    };
    let first = fit("a", "2");
    assert_eq!(first.code, 0, "{}", first.stderr);
    let answer = first.json();
    assert_eq!((&answer["task"], &answer["metric"]), (&"text-regression".into(), &"rmse".into()));
    let number = |key: &str| answer[key].as_f64().unwrap();
    assert!(number("r2") > 0.8, "prices follow from words: {answer}");
    assert!(number("test") < answer["baselines"]["mean"].as_f64().unwrap() / 2.0);
    assert!(answer["baselines"]["scratch"].is_number());
    assert_eq!(answer["verdict"], "helped");
    let ci = [0, 1].map(|i| answer["test_ci95"][i].as_f64().unwrap());
    assert!(ci[0] < number("test") && number("test") < ci[1]);
    let predictions = std::fs::read_to_string(place.path("a/predictions.csv")).unwrap();
    assert!(predictions.starts_with("id,target,predicted\n"), "{predictions}");
    let report = std::fs::read_to_string(place.path("a/report.html")).unwrap();
    assert!(report.contains(r#"id="scatter""#) && !report.contains(r#"id="confusion""#));

    std::fs::remove_dir_all(place.path("cache")).unwrap();
    assert_eq!(fit("b", "1").code, 0);
    assert_eq!(contents(&place.path("a/bundle")), contents(&place.path("b/bundle")));

    // Four words of weather cost more than four of food.
    let value = |text: &str| place.run(&["predict", "a", text, "--json"]).json()["value"].as_f64().unwrap();
    let (dear, cheap) = (value("rain wind snow storm the 7"), value("bread cheese soup rice the 7"));
    assert!(dear > 130.0 && cheap < 110.0, "{dear} {cheap}");
    let evaluated = place.run(&["evaluate", "a", data, "--json"]).json();
    assert_eq!(evaluated["metric"], "rmse");
    assert_eq!(
        (evaluated["metrics"]["n"].as_u64(), &evaluated["seen_in_training"]),
        (Some(120), &true.into())
    );
    let check = place.run(&["check", data, "--task", "regression", "--json"]).json();
    assert_eq!(check["numbers"]["n"], 120);
}

#[test]
fn labels_from_table_to_bundle_and_back() {
    let place = Place::new();
    let (data, source) = (place.tags(120), place.sentence_encoder());
    let (data, source) = (data.to_str().unwrap(), source.to_str().unwrap());
    let args = ["fit", data, "--source", source, "--out", "run", "--json", "--task", "multi-label"];
    let fit = place.run(&[&args[..], &["--set", "baseline_passes_max=2"]].concat());
    assert_eq!(fit.code, 0, "{}", fit.stderr);
    let answer = fit.json();
    assert_eq!(
        (&answer["task"], &answer["metric"]),
        (&"text-multi-label".into(), &"average_precision".into())
    );
    assert!(answer["test"].as_f64().unwrap() > 0.8, "{answer}");
    assert!(answer["baselines"]["prevalence"].as_f64().unwrap() < 0.7, "{answer}");
    assert!(answer["auroc"].as_f64().unwrap() > 0.8 && answer["exact_match"].is_number());
    let labels = |text: &str| {
        let predicted = place.run(&["predict", "run", text, "--json"]).json();
        assert_eq!(predicted["probabilities"].as_object().unwrap().len(), 3);
        predicted["labels"].to_string()
    };
    let (weather, food) = (labels("rain wind snow storm the 7"), labels("bread cheese soup rice the 7"));
    assert!(weather.contains("weather") && !weather.contains("food"), "{weather}");
    assert!(food.contains("food") && !food.contains("weather"), "{food}");
    let evaluated = place.run(&["evaluate", "run", data, "--json"]).json();
    assert_eq!(evaluated["metrics"]["labels"].as_array().unwrap().len(), 3);
    let plan = place.run(&["plan", data, "--source", source, "--task", "multi-label", "--metric", "auroc"]);
    assert!(plan.stdout.contains("a logistic regression for each label"), "{}", plan.stdout);
    assert!(plan.stdout.contains("metric     AUROC"), "{}", plan.stdout);
}

#[test]
fn the_verdict_compares_what_is_asked_for() {
    let place = Place::new();
    let (data, source) = (place.sentences(60), place.sentence_encoder());
    let (data, source) = (data.to_str().unwrap(), source.to_str().unwrap());
    let args = ["fit", data, "--source", source, "--out", "run", "--json", "--baseline-budget", "0"];
    let answer = place.run(&[&args[..], &["--metric", "auroc"]].concat()).json();
    assert_eq!((&answer["metric"], &answer["baselines"]["majority"]), (&"auroc".into(), &0.5.into()));
    assert_eq!(answer["test"], answer["auroc"]);
    let refused = place.run(&[&args[..], &["--metric", "rmse"]].concat());
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("rmse does not measure classification"), "{}", refused.stderr);
    assert!(refused.stderr.contains("hint: pass --metric accuracy"), "{}", refused.stderr);
    let unknown = place.run(&["check", data, "--task", "regresion"]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("task `regresion` is unknown"), "{}", unknown.stderr);
}

#[test]
fn numbers_are_never_taken_for_classes_in_silence() {
    let place = Place::new();
    let data = place.prices(60);
    let asked = place.run(&["check", data.to_str().unwrap()]);
    assert_eq!(asked.code, 2);
    assert!(asked.stderr.contains("hint: pass `--task regression`"), "{}", asked.stderr);
    assert_eq!(place.run(&["check", data.to_str().unwrap(), "--task", "classification"]).code, 0);

    let rows: String = (0..20).map(|i| format!("text {i},{i}\n")).collect();
    std::fs::write(place.path("bad.csv"), format!("text,price\n{rows}a word,cheap\n")).unwrap();
    let check = place.run(&["check", "bad.csv", "--label", "price", "--task", "regression"]);
    assert_eq!(check.code, 1, "{}", check.stderr);
    assert!(
        check.stderr.contains("bad.csv:22: `price` is `cheap`; --task regression needs a number"),
        "{}",
        check.stderr
    );
    std::fs::write(place.path("same.csv"), "text,price\na,3\nb,3.0\n").unwrap();
    let same = place.run(&["check", "same.csv", "--label", "price", "--task", "regression"]);
    assert!(same.code == 2 && same.stderr.contains("the same number"), "{}", same.stderr);
}
