//! Training from the command line: every recipe, killed and resumed, repeated and verified, harmful and caught.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use headstart_core::Rng;
use serde_json::Value;

use crate::fixtures::{Place, contents};

/// A place with texts of two classes and a small sentence encoder of random weights.
fn texts(n: usize) -> (Place, String, String) {
    let place = Place::new();
    let data = place.sentences(n).display().to_string();
    let source = format!("file:{}", place.sentence_encoder().display());
    (place, data, source)
}

fn fit(place: &Place, data: &str, source: &str, recipe: &str, out: &str, more: &[&str]) -> (i32, Value) {
    let args =
        [&["fit", data, "--source", source, "--recipe", recipe, "--out", out, "--json"], more].concat();
    let answer = place.run(&args);
    assert!(answer.code <= 1, "{recipe}: {}", answer.stderr);
    (answer.code, answer.json())
}

#[test]
fn every_recipe_trains_seals_and_predicts() {
    let (place, data, source) = texts(24);
    let recipes = [
        "prototype",
        "full",
        "staged",
        "gradual",
        "last:1",
        "bitfit",
        "norm",
        "lora",
        "dora",
        "ia3",
        "adapter",
        "setfit",
    ];
    for recipe in recipes {
        let out = format!("runs/{}", recipe.replace(':', "-"));
        let more = ["--baseline-budget", "0", "--set", "passes=2", "--set", "pairs=1", "--set", "stages=2"];
        let (_, answer) = fit(&place, &data, &source, recipe, &out, &more);
        assert_eq!(answer["recipe"], recipe);
        let trains = recipe != "prototype";
        assert_eq!(answer["baselines"]["probe"].is_number(), trains, "{recipe}: {answer}");
        assert!(answer["forecast"]["seconds"].is_number(), "{recipe}: {answer}");
        let predicted = place.run(&["predict", &out, "rain and snow", "--json"]);
        assert_eq!(predicted.code, 0, "{recipe}: {}", predicted.stderr);
        let planned =
            place.run(&["plan", &data, "--source", &source, "--recipe", recipe, "--baseline-budget", "0"]);
        assert_eq!(planned.code, 0, "{recipe}: {}", planned.stderr);
        assert!(planned.stdout.contains("forecast"), "{recipe}: {}", planned.stdout);
    }
}

/// Guards, averages, smoothing, sampling, accumulation, checkpointed gradients, early stopping, augmentation: all at once.
#[test]
fn settings_combine() {
    let (place, data, source) = texts(30);
    let settings = [
        "passes=3",
        "l2_sp=0.01",
        "bss=0.001",
        "distillation=0.1",
        "delta=0.01",
        "label_smoothing=0.1",
        "ema=0.9",
        "accumulate=2",
        "batch=4",
        "segments=3",
        "patience=2",
        "tuned_share=-1",
        "seeds=2",
        "balance=sampling",
        "schedule=one-cycle",
        "optimiser=sgd",
        "find_lr=1",
        "views=2",
    ];
    let mut more = vec!["--baseline-budget", "0", "--valid-fraction", "0.2", "--augment", "light"];
    settings.iter().for_each(|s| more.extend(["--set", s]));
    let (_, answer) = fit(&place, &data, &source, "full", "runs/a", &more);
    assert_eq!(answer["n_valid"], 6);
    let (_, again) = fit(&place, &data, &source, "full", "runs/b", &more);
    assert_eq!(contents(&place.path("runs/a/bundle")), contents(&place.path("runs/b/bundle")));
    assert_eq!(answer["test"], again["test"]);
}

#[test]
fn a_killed_run_goes_on_to_the_same_bytes() {
    killed(&["--recipe", "gradual", "--set", "passes=5", "--set", "stages=2"], 20);
}

/// What `auto` has tried it does not try again.
#[test]
fn a_killed_choice_goes_on_to_the_same_bytes() {
    killed(&["--recipe", "auto", "--set", "passes=2"], 4);
}

/// Kills a fit at random moments, `n_kills` in all, and compares what it comes to with a fit that was left alone.
fn killed(recipe: &[&str], n_kills_least: usize) {
    let (place, data, source) = texts(40);
    let start = |out: &str, resume: bool| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headstart"));
        command
            .args(["fit", &data, "--source", &source, "--out", out, "--offline"])
            .args(["--baseline-budget", "0", "--checkpoint-every", "0"])
            .args(recipe)
            .args(resume.then_some("--resume"))
            .current_dir(place.dir.path())
            .env("HEADSTART_CACHE", place.path("cache"))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(place.path("stderr.txt")).unwrap());
        command.spawn().unwrap()
    };
    let clock = Instant::now();
    assert!(start("runs/whole", false).wait().unwrap().code().is_some_and(|c| c <= 1));
    let whole = clock.elapsed();
    let expected = contents(&place.path("runs/whole/bundle"));
    let mut rng = Rng::new(11);
    let (mut n_kills, mut n_with_checkpoint) = (0, 0);
    while n_kills < n_kills_least {
        // A fresh run, killed over and over until it gets through.
        let _ = std::fs::remove_dir_all(place.path("runs/killed"));
        for attempt in 0.. {
            let mut child = start("runs/killed", true);
            std::thread::sleep(whole.mul_f64(0.1 + 0.9 * rng.uniform()).min(Duration::from_secs(5)));
            let finished = child.try_wait().unwrap().is_some() || attempt > 6;
            if finished {
                let code = child.wait().unwrap().code();
                let said = std::fs::read_to_string(place.path("stderr.txt")).unwrap();
                assert!(code.is_some_and(|c| c <= 1), "after {n_kills} kills: {said}");
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            n_kills += 1;
            let mut checkpoints =
                place.path("runs/killed/checkpoints").read_dir().into_iter().flatten().flatten();
            let is_whole = |name: std::ffi::OsString| name.to_string_lossy().ends_with(".safetensors");
            n_with_checkpoint += usize::from(checkpoints.any(|e| is_whole(e.file_name())));
        }
        assert_eq!(contents(&place.path("runs/killed/bundle")), expected, "after {n_kills} kills");
    }
    assert!(n_with_checkpoint > 0, "no kill met a training that had begun");
}

#[test]
fn one_thread_or_two_and_verify() {
    let (place, data, source) = texts(24);
    let more = |threads| ["--baseline-budget", "0", "--set", "passes=2", "--threads", threads];
    fit(&place, &data, &source, "lora", "runs/one", &more("1"));
    fit(&place, &data, &source, "lora", "runs/two", &more("2"));
    assert_eq!(contents(&place.path("runs/one/bundle")), contents(&place.path("runs/two/bundle")));

    let verified = place.run(&["verify", "runs/one", "--json"]);
    assert_eq!(verified.code, 0, "{}", verified.stderr);
    assert_eq!(verified.json()["same"], true);
    let card = place.path("runs/one/bundle/README.md");
    std::fs::write(&card, "something else").unwrap();
    let changed = place.run(&["verify", "runs/one", "--json"]);
    assert_eq!((changed.code, changed.json()["different"].clone()), (1, serde_json::json!(["README.md"])));
    let nothing = place.run(&["verify", "runs"]);
    assert_eq!(nothing.code, 2);
    assert!(nothing.stderr.contains("request.json"), "{}", nothing.stderr);
}

/// A checkpoint of another plan is not gone on from.
#[test]
fn wrong_requests_are_refused() {
    let (place, data, source) = texts(24);
    for (args, want) in [
        (vec!["--recipe", "last:0"], "last:N"),
        (vec!["--recipe", "last:999"], "999"),
        (vec!["--recipe", "loar"], "recipe `loar` is unknown"),
        (vec!["--recipe", "lora", "--target", "nowhere"], "nowhere"),
        (vec!["--recipe", "full", "--set", "optimiser=adam"], "adamw, sgd"),
        (vec!["--recipe", "full", "--augment", "flip"], "flip"),
        (vec!["--recipe", "full", "--unlabelled", "nowhere"], "nowhere"),
    ] {
        let answer = place.run(&[&["fit", &data, "--source", &source], args.as_slice()].concat());
        assert_eq!(answer.code, 2, "{args:?}: {}", answer.stderr);
        assert!(answer.stderr.contains(want), "{args:?}: {}", answer.stderr);
    }
}

/// A source whose training wiped out what matters (its words all mean the same): from random weights the task is easy, from
/// this source it is not.  The verdict says so, and the bundle holds the better network.
#[test]
fn negative_transfer_is_caught() {
    let (place, data, _) = texts(80);
    let source = format!("file:{}", place.worn_out_encoder().display());
    let more = ["--set", "passes=1", "--set", "baseline_passes_max=30", "--baseline-budget", "100000"];
    let (code, answer) = fit(&place, &data, &source, "bitfit", "runs/a", &more);
    assert_eq!(
        (code, &answer["verdict"], &answer["fallback"]),
        (1, &"hurt".into(), &"scratch".into()),
        "{answer}"
    );
    let evaluated = place.run(&["evaluate", "runs/a", &data, "--json"]).json();
    let scratch = answer["baselines"]["scratch"].as_f64().unwrap();
    assert!(evaluated["test"].as_f64().unwrap() > answer["test"].as_f64().unwrap() + 0.2, "{evaluated}");
    assert!(scratch > 0.8, "{answer}");
}

/// A source that was trained on shuffled labels: nothing of the pictures helps there, weight decay takes the rest, and what
/// is left of the network cannot tell anything apart.  On the true labels it is worse than the same network from random
/// weights, and the verdict says so.
#[test]
fn a_source_trained_on_shuffled_labels_is_caught() {
    let place = Place::new();
    let data = place.pictures("colours", 40).display().to_string();
    let mut rng = Rng::new(1);
    let rows = ["red", "green", "blue"].into_iter().flat_map(|class| (0..40).map(move |i| (class, i)));
    let shuffled: String = rows
        .map(|(class, i)| format!("colours/{class}/{i}.png,{}\n", ["x", "y", "z"][rng.below(3)]))
        .collect();
    std::fs::write(place.path("shuffled.csv"), format!("path,label\n{shuffled}")).unwrap();
    let network = format!("file:{}", place.convolutions().display());
    let long = ["passes=40", "optimiser=sgd", "schedule=constant", "lr=0.1", "weight_decay=1"];
    let long =
        long.iter().flat_map(|set| ["--set", *set]).chain(["--preprocess", "unit", "--baseline-budget", "0"]);
    fit(&place, "shuffled.csv", &network, "full", "runs/shuffled", &long.collect::<Vec<_>>());
    let written = place.run(&["export", "runs/shuffled", "--format", "onnx", "--out", "harmful.onnx"]);
    assert_eq!(written.code, 0, "{}", written.stderr);

    let more = ["--preprocess", "unit", "--baseline-budget", "100000"];
    let (code, answer) = fit(&place, &data, "file:harmful.onnx", "probe", "runs/a", &more);
    assert_eq!(
        (code, &answer["verdict"], &answer["fallback"]),
        (1, &"hurt".into(), &"scratch".into()),
        "{answer}"
    );
    let evaluated = place.run(&["evaluate", "runs/a", &data, "--json"]).json();
    assert!(evaluated["test"].as_f64().unwrap() > answer["test"].as_f64().unwrap() + 0.3, "{evaluated}");
}

/// `auto` tries recipes on a validation split of its own, says what it tried and why it chose, and obeys its limit.
#[test]
fn auto_explains_its_choice() {
    let (place, data, source) = texts(60);
    let more = ["--baseline-budget", "0", "--set", "passes=1"];
    let (_, answer) = fit(&place, &data, &source, "auto", "runs/a", &more);
    assert_eq!(answer["n_valid"], 12);
    let plan = std::fs::read_to_string(place.path("runs/a/plan.toml")).unwrap();
    for recipe in ["auto chose", "probe ", "bitfit ", "lora ", "full "] {
        assert!(plan.contains(recipe), "{recipe}: {plan}");
    }
    let hurried = [&more[..], &["--time-limit", "0"]].concat();
    let (_, answer) = fit(&place, &data, &source, "auto", "runs/b", &hurried);
    assert_eq!(answer["recipe"], "probe");
    let plan = std::fs::read_to_string(place.path("runs/b/plan.toml")).unwrap();
    assert!(plan.contains("left no room for bitfit"), "{plan}");
}

/// What stands beside a network's first layer reads the picture itself, though that layer is frozen.
#[test]
fn pictures_take_adapters_at_every_layer() {
    let place = Place::new();
    let (data, source) = (place.pictures("photos", 6), place.squeezenet());
    for recipe in ["lora", "ia3"] {
        let args = [
            "fit",
            data.to_str().unwrap(),
            "--source",
            source.to_str().unwrap(),
            "--arch",
            "squeezenet1_1",
            "--recipe",
            recipe,
            "--set",
            "passes=1",
            "--baseline-budget",
            "0",
            "--out",
            "runs/a",
            "--json",
        ];
        let answer = place.run(&args);
        assert!(answer.code <= 1, "{recipe}: {}", answer.stderr);
        assert_eq!(answer.json()["recipe"], recipe);
    }
}

/// Pictures without labels are learned from by consistency.
#[test]
fn unlabelled_pictures_are_used() {
    let place = Place::new();
    let (data, source) = (place.pictures("photos", 6), place.squeezenet());
    let unlabelled = place.pictures("more", 4);
    let args = [
        "fit",
        data.to_str().unwrap(),
        "--source",
        source.to_str().unwrap(),
        "--arch",
        "squeezenet1_1",
        "--recipe",
        "last:1",
        "--unlabelled",
        unlabelled.to_str().unwrap(),
        "--set",
        "passes=1",
        "--set",
        "batch=4",
        "--set",
        "unlabelled_ratio=1",
        "--set",
        "threshold=0.5",
        "--baseline-budget",
        "0",
        "--out",
        "runs/a",
        "--json",
    ];
    let answer = place.run(&args);
    assert!(answer.code <= 1, "{}", answer.stderr);
    assert_eq!(answer.json()["recipe"], "last:1");
}
