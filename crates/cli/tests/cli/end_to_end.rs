//! The whole way on small data and random networks: fit, seal, predict, evaluate, twice the same.

use crate::fixtures::{Place, contents};

#[test]
fn pictures_from_folder_to_bundle_and_back() {
    let place = Place::new();
    let data = place.pictures("photos", 10);
    let source = place.squeezenet();
    let args = |out: &'static str, threads: &'static str| {
        let (data, source) = (data.to_str().unwrap().to_string(), source.to_str().unwrap().to_string());
        [
            "fit",
            &data,
            "--source",
            &source,
            "--arch",
            "squeezenet1_1",
            "--out",
            out,
            "--threads",
            threads,
            "--json",
            "--set",
            "baseline_passes_max=2",
        ]
        .map(String::from)
        .to_vec()
    };
    let run = |out, threads| {
        let args = args(out, threads);
        place.run(&args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let first = run("runs/a", "2");
    assert_eq!(first.code, 0, "{}", first.stderr);
    let answer = first.json();
    assert_eq!((answer["n_train"].as_u64(), answer["n_test"].as_u64()), (Some(24), Some(6)));
    assert_eq!(answer["test"], 1.0, "colours are easy even for a random network: {answer}");
    assert!(answer["baselines"]["scratch"].is_number() && answer["baselines"]["majority"].is_number());
    for file in
        ["plan.toml", "events.jsonl", "metrics.json", "predictions.csv", "report.html", "bundle/README.md"]
    {
        assert!(place.path("runs/a").join(file).is_file(), "{file}");
    }

    // Another folder, another cache, one thread: the same bundle to the bit.
    std::fs::remove_dir_all(place.path("cache")).unwrap();
    assert_eq!(run("runs/b", "1").code, 0);
    assert_eq!(contents(&place.path("runs/a/bundle")), contents(&place.path("runs/b/bundle")));

    // The bundle predicts elsewhere, without data or source.
    std::fs::rename(place.path("runs/a/bundle"), place.path("moved")).unwrap();
    let picture = data.join("green/3.png");
    let predicted = place.run(&["predict", "moved", picture.to_str().unwrap(), "--json"]);
    assert_eq!(predicted.json()["label"], "green");
    let evaluated = place.run(&["evaluate", "moved", data.to_str().unwrap(), "--json"]);
    assert_eq!(evaluated.json()["seen_in_training"], true);
    assert_eq!(evaluated.json()["metrics"]["n"], 30);
}

#[test]
fn texts_from_table_to_bundle_and_back() {
    let place = Place::new();
    let (data, source) = (place.sentences(80), place.sentence_encoder());
    let (data, source) = (data.to_str().unwrap(), source.to_str().unwrap());
    let fit = |seed: &str| {
        place.run(&[
            "fit",
            data,
            "--source",
            source,
            "--out",
            "run",
            "--json",
            "--seed",
            seed,
            "--set",
            "baseline_passes_max=2",
        ])
    };
    let first = fit("0");
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert!(first.json()["test"].as_f64().unwrap() >= 0.9, "{}", first.stdout);
    assert_eq!(first.json()["features_cached"], 0);
    // Another seed of the head: the same split, all features and the rival from the cache.
    let second = fit("1").json();
    assert_eq!(second["features_cached"], 80);
    assert_eq!(second["baselines"], first.json()["baselines"]);
    let predicted = place.run(&["predict", "run", "cold wind and snow today", "--json"]);
    assert_eq!(predicted.json()["label"], "weather");
}

#[test]
fn a_bundle_that_was_changed_is_refused() {
    let place = Place::new();
    let (data, source) = (place.sentences(40), place.sentence_encoder());
    let fit = place.run(&[
        "fit",
        data.to_str().unwrap(),
        "--source",
        source.to_str().unwrap(),
        "--out",
        "run",
        "--baseline-budget",
        "0",
    ]);
    assert_eq!(fit.code, 0, "{}", fit.stderr);
    let weights = place.path("run/bundle/model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 0x40;
    std::fs::write(&weights, bytes).unwrap();
    let refused = place.run(&["predict", "run", "rain"]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("model.safetensors"), "{}", refused.stderr);
}

#[test]
fn plan_features_sources_and_check_answer_in_json() {
    let place = Place::new();
    let data = place.pictures("photos", 6);
    let source = place.squeezenet();
    let (data, source) = (data.to_str().unwrap(), source.to_str().unwrap());
    let plan = place.run(&["plan", data, "--source", source, "--arch", "squeezenet1_1", "--json"]).json();
    assert_eq!(plan["feature_width"], 512);
    let trained: Vec<_> = plan["groups"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|g| g["state"] == "trained")
        .map(|g| &g["name"])
        .collect();
    assert_eq!(trained, ["head"]);
    let features = place.run(&[
        "features",
        data,
        "--source",
        source,
        "--arch",
        "squeezenet1_1",
        "--out",
        "f.safetensors",
        "--json",
    ]);
    assert_eq!((features.json()["n"].as_u64(), features.json()["width"].as_u64()), (Some(18), Some(512)));
    let tensors = headstart_formats::safetensors::load(place.path("f.safetensors")).unwrap();
    assert_eq!(tensors.get("features").unwrap().shape(), [18, 512]);
    let check = place.run(&["check", data, "--json"]);
    assert_eq!((check.code, check.json()["n_examples"].as_u64()), (0, Some(18)));
    let sources = place.run(&["sources", "--json"]).json();
    let ids: Vec<_> = sources.as_array().unwrap().iter().filter_map(|s| s["id"].as_str()).collect();
    for id in ["efficientnet-lite0", "mobilenet-v2", "minilm-l6"] {
        assert!(ids.contains(&id), "{id}");
    }
    let graph = place.run(&["sources", "show", "efficientnet-lite0", "--graph"]);
    assert!(graph.stdout.contains("blocks.0.0.conv_dw"), "{}", graph.stdout);
}

/// Pictures become grey and change their axes for a network that was made so; from then on it is a source like others.
#[test]
fn a_network_for_grey_pictures_with_channels_last_is_a_source() {
    let place = Place::new();
    let data = place.pictures("colours", 12).display().to_string();
    let source = format!("file:{}", place.grey_convolutions().display());
    for recipe in ["probe", "staged"] {
        let out = format!("runs/{recipe}");
        let args =
            ["fit", &data, "--source", &source, "--preprocess", "unit", "--recipe", recipe, "--out", &out];
        let fitted = place.run(&[&args[..], &["--baseline-budget", "0", "--json"]].concat());
        assert!(fitted.code <= 1, "{}", fitted.stderr);
        // Red, green and blue differ in brightness.
        assert!(fitted.json()["test"].as_f64().unwrap() > 0.8, "{}", fitted.stdout);
        let predicted = place.run(&["predict", &format!("{out}/bundle"), "colours/red/0.png", "--json"]);
        assert_eq!(predicted.code, 0, "{}", predicted.stderr);
    }
}
