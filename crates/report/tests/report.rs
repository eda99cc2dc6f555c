//! The page is well-formed, says what it should, keeps hostile names as text, and loads nothing.

use expect_test::expect;
use headstart_core::{
    Comparison, Diagnostic, GroupPlan, HeadPlan, Metric, Metrics, Modality, NumberSummary, Plan, SplitName,
    SplitPlan, Targets, Task, Verdict, reliability,
};
use headstart_graph::Card;
use headstart_report::{
    Answer, CacheFacts, ClassCounts, DataSummary, Fact, L2Curve, L2Point, MediaType, Mistake, MistakeContent,
    Mistakes, NumberCounts, Picture, ReportData, ScratchCurve, ScratchPass, Timing, html, markdown, summary,
    verdict_sentence,
};
use scraper::{Html, Selector};

/// Four test examples of as many classes as there are names; the last example goes wrong.
fn report(classes: &[&str], words: &str) -> ReportData {
    let classes: Vec<String> = classes.iter().map(|c| c.to_string()).collect();
    let k = classes.len();
    let truth = [0, 0, 1, 1];
    let probabilities: Vec<f32> = [0, 0, 1, 0]
        .iter()
        .flat_map(|&p| (0..k).map(move |c| if c == p { 0.9 } else { 0.1 / (k - 1) as f32 }))
        .collect();
    let metrics = Metrics::of(&classes, &probabilities, &Targets::Class(truth.to_vec()));
    let plan = Plan {
        modality: Modality::Image,
        task: Task::Classification,
        metric: Metric::Accuracy,
        recipe: "probe".into(),
        source: "resnet18".into(),
        tap: "avgpool".into(),
        feature_width: 512,
        classes: classes.clone(),
        seed: 7,
        split: SplitPlan { given: false, seed: 0, n_train: 8, n_valid: 0, n_test: 4 },
        precision: Default::default(),
        head: HeadPlan {
            kind: Default::default(),
            scaling: Default::default(),
            l2_candidates: vec![1e-4, 1e-2],
            n_folds: 2,
            class_weights: true,
        },
        training: None,
        baseline: None,
        unused_weights: vec!["fc.weight".into()],
        groups: vec![
            GroupPlan::frozen("layer1.0", 73_984),
            GroupPlan::frozen("layer1.1", 73_984),
            GroupPlan::trained("head", 1026),
        ],
        notes: vec![words.into()],
    };
    let comparisons = vec![
        Comparison { baseline: "majority".into(), score: 0.5, gain: 0.25, gain_ci95: [0.05, 0.5].into() },
        Comparison { baseline: "scratch".into(), score: 0.25, gain: 0.5, gain_ci95: [0.1, 0.8].into() },
    ];
    let ci = [0.3, 0.95].into();
    ReportData {
        title: words.into(),
        sentence: verdict_sentence(Verdict::Helped, 0.75, ci, &comparisons, &plan, 4),
        source: Card {
            id: words.into(),
            licence: words.into(),
            paper: "He et al., 2015, https://arxiv.org/abs/1512.03385.".into(),
            ..Card::default()
        },
        data: DataSummary {
            path: words.into(),
            blake3: "ab".repeat(32),
            n_train: 4 * k,
            n_test: 2 * k,
            numbers: vec![],
            classes: classes
                .iter()
                .map(|c| ClassCounts { class: c.clone(), n_train: 4, n_valid: 0, n_test: 2 })
                .collect(),
            diagnostics: vec![Diagnostic {
                path: words.into(),
                line: Some(3),
                message: words.into(),
                skipped: true,
            }],
            n_diagnostics: 12,
            n_skipped: 2,
        },
        verdict: Verdict::Helped,
        fallback: None,
        reliability: reliability(k, &probabilities, &truth),
        metrics,
        score: 0.75,
        score_ci95: ci,
        scatter: vec![],
        comparisons,
        scratch: Some(ScratchCurve {
            passes: vec![
                ScratchPass { train_loss: 0.7, accuracy: Some(0.25) },
                ScratchPass { train_loss: 0.5, accuracy: Some(0.5) },
            ],
            accuracy_split: SplitName::Train,
        }),
        training: Vec::new(),
        forecast: None,
        l2: Some(L2Curve {
            points: vec![
                L2Point { l2: 1e-4, loss: 0.5, loss_se: Some(0.1) },
                L2Point { l2: 1e-2, loss: 0.6, loss_se: None },
            ],
            chosen: 1e-4,
            n_folds: 2,
        }),
        mistakes: Mistakes {
            n: 2,
            shown: vec![
                mistake(words, MistakeContent::Text(words.into()), 0.6),
                mistake(
                    words,
                    MistakeContent::Picture(Picture { media_type: MediaType::Jpeg, bytes: vec![1, 2, 3] }),
                    0.9,
                ),
            ],
        },
        plan,
        timings: vec![Timing { what: words.into(), seconds: 12.34 }],
        peak_mb: Some(400.0),
        cache: Some(CacheFacts { n_hits: 1, n_misses: 11, size_bytes: 24_576 }),
        facts: vec![Fact { name: words.into(), value: words.into() }],
        command_predict: format!("headstart predict '{words}'"),
        command_reproduce: "headstart fit pets --source resnet18 --seed 7".into(),
    }
}

fn mistake(id: &str, content: MistakeContent, probability: f32) -> Mistake {
    Mistake {
        id: id.into(),
        content,
        answer: Answer::Class {
            truth_idx: 1,
            predicted_idx: 0,
            probability,
            probability_truth: 1.0 - probability,
        },
    }
}

fn texts(page: &Html, selector: &str) -> Vec<String> {
    let selector = Selector::parse(selector).expect("the tests' selectors are valid");
    page.select(&selector).map(|e| e.text().collect::<String>().trim().to_string()).collect()
}

const HOSTILE: &str =
    "</title></style><script>alert(1)</script><img src=x onerror=alert(2)>\"'>&lt;\u{0}\u{202e}`|";

#[test]
fn the_page_has_these_parts() {
    let page = Html::parse_document(&html(&report(&["cat", "dog"], "pets")));
    assert!(page.errors.is_empty(), "{:?}", page.errors);
    expect![[r##"
        [
            "pets",
            "Measures",
            "By class",
            "Confusions",
            "Mistakes",
            "Calibration",
            "Data",
            "What was noticed",
            "Source",
            "Plan",
            "Fitting",
            "Strength of the L2 penalty",
            "The same network from random weights",
            "Cost",
            "Use it, make it again",
            "Predict",
            "Make this run again",
        ]
    "##]]
    .assert_debug_eq(&texts(&page, "h1, h2, h3"));
    assert_eq!(
        texts(&page, "table").len(),
        texts(&page, "table > caption").len(),
        "every table has a caption"
    );
    assert_eq!(
        texts(&page, "figure svg").len(),
        texts(&page, "svg[role=img][aria-label]").len(),
        "every chart has an alternative text"
    );
    assert_eq!(texts(&page, "img").len(), texts(&page, "img[alt]").len());
    assert_eq!(texts(&page, ".heat tbody tr"), ["cat2·", "dog11"]);
    assert_eq!(texts(&page, ".plan tbody th"), ["layer1 · 2 groups", "head"]);
    assert_eq!(texts(&page, "nav a").len(), texts(&page, "section[id]").len());
    assert_eq!(
        texts(&page, ".facts a"),
        ["https://arxiv.org/abs/1512.03385"],
        "the full stop after an address is not part of it"
    );
}

#[test]
fn the_parser_does_report_errors() {
    assert!(!Html::parse_document("<!DOCTYPE html><title>x</title><p></b>").errors.is_empty());
}

#[test]
fn the_summary_is_this() {
    expect![[r#"
        Transfer helped: 0.750 of 4 test examples right [0.300–0.950], against 0.500 for always guessing the largest class and 0.250 for the same network trained from random weights.

          Transfer (probe)              0.750  [0.300–0.950]
          Always the largest class      0.500  gain +0.250 [+0.050, +0.500]
          Same network, random weights  0.250  gain +0.500 [+0.100, +0.800]

          balanced accuracy 0.750, macro F1 0.733, AUROC 0.750, mean average precision 0.708, calibration error 0.150, 4 test examples, 12.3 s
          12 remarks about the data, 2 examples left out
    "#]]
    .assert_eq(&summary(&report(&["cat", "dog"], "pets")));
}

#[test]
fn the_markdown_is_this() {
    expect![[r#"
        # pets

        **Transfer helped: 0.750 of 4 test examples right \[0.300–0.950\], against 0.500 for always guessing the largest class and 0.250 for the same network trained from random weights.**

        | model | accuracy | gain of transfer over it (95 % interval) |
        |---|---:|---:|
        | transfer (probe) | 0.750 [0.300–0.950] | |
        | Always the largest class | 0.500 | +0.250 [+0.050, +0.500] |
        | Same network, random weights | 0.250 | +0.500 [+0.100, +0.800] |

        Balanced accuracy 0.750, macro F1 0.733, AUROC 0.750, mean average precision 0.708, calibration error 0.150, on 4 test examples.

        Most confused: dog taken for cat (1×).

        Source pets (pets), seed 7, 12.3 s.

        ```sh
        headstart fit pets --source resnet18 --seed 7
        ```
    "#]]
    .assert_eq(&markdown(&report(&["cat", "dog"], "pets")));
}

#[test]
fn hostile_words_stay_words() {
    for classes in [vec![HOSTILE, "dog"], [vec![HOSTILE], vec!["x<y"; 29]].concat()] {
        let mut data = report(&classes, HOSTILE);
        data.sentence = HOSTILE.into();
        data.fallback = Some(HOSTILE.into());
        let Metrics::Classification(metrics) = &mut data.metrics else { panic!("classes") };
        metrics.classes.iter_mut().for_each(|c| c.class = HOSTILE.into());
        let text = html(&data);
        let page = Html::parse_document(&text);
        assert!(page.errors.is_empty(), "{:?}", page.errors);
        assert_eq!(texts(&page, "script").len(), 1, "ours");
        assert_eq!(texts(&page, "img").len(), 1);
        let kept = HOSTILE.replace('\0', "\u{fffd}");
        assert_eq!(texts(&page, "h1"), [kept.as_str()]);
        assert_eq!(texts(&page, "blockquote"), [kept.as_str()]);
        for element in page.select(&Selector::parse("*").expect("valid")) {
            assert!(element.value().attrs().all(|(name, _)| !name.starts_with("on")), "no handlers");
        }
        assert!(!markdown(&data).contains("<script") && !markdown(&data).contains("<img"));
        assert!(!summary(&data).contains('\0'));
    }
}

#[test]
fn the_page_loads_nothing() {
    let text = html(&report(&["cat", "dog"], "pets"));
    let page = Html::parse_document(&text);
    for element in page.select(&Selector::parse("*").expect("valid")) {
        let tag = element.value().name();
        assert!(
            !["link", "iframe", "object", "embed", "base", "form", "audio", "video"].contains(&tag),
            "{tag}"
        );
        for (name, value) in element.value().attrs() {
            let far = value.contains("http:") || value.contains("https:") || value.starts_with("//");
            assert!(!far || (tag == "a" && name == "href"), "{tag} {name}={value}");
            assert!(name != "src" || value.starts_with("data:image/"), "{value}");
        }
    }
    assert!(!text.contains("url(") && !text.contains("@import") && !text.contains("@font-face"));
    assert!(text.contains("default-src 'none'"));
}

#[test]
fn many_classes_make_pairs_and_a_picture() {
    let names: Vec<String> = (0..60).map(|i| format!("c{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let page = Html::parse_document(&html(&report(&names, "many")));
    assert!(page.errors.is_empty(), "{:?}", page.errors);
    assert!(texts(&page, ".heat").is_empty());
    assert_eq!(texts(&page, "svg.matrix").len(), 1);
    assert_eq!(texts(&page, "#confusion tbody tr"), ["c1c010.500"]);
}

#[test]
fn numbers_make_a_scatter_and_no_classes() {
    let mut data = report(&["cat", "dog"], "pets");
    (data.plan.task, data.plan.metric) = (Task::Regression, Metric::Rmse);
    data.plan.classes.clear();
    data.data.classes.clear();
    data.reliability.clear();
    let truth = vec![10.0, 200.0, 35.5];
    data.scatter = vec![[10.0, 12.0], [200.0, 180.0], [35.5, 35.5]];
    data.metrics = Metrics::of(&[], &[12.0, 180.0, 35.5], &Targets::Number(truth.clone()));
    (data.score, data.score_ci95) = (11.6, [4.0, 20.0].into());
    data.comparisons =
        vec![Comparison { baseline: "mean".into(), score: 84.3, gain: 72.7, gain_ci95: [30.0, 99.0].into() }];
    let numbers = NumberSummary::of(&truth).expect("three");
    data.data.numbers = vec![NumberCounts { split: SplitName::Test, numbers }];
    data.mistakes.shown.truncate(1);
    data.mistakes.shown[0].answer = Answer::Number { truth: 200.0, predicted: 180.0 };
    data.sentence =
        verdict_sentence(Verdict::Helped, 11.6, data.score_ci95, &data.comparisons, &data.plan, 3);
    assert_eq!(
        data.sentence,
        "Transfer helped: root mean squared error 11.6 on 3 test examples [4.00–20.0], against 84.3 for always saying the mean."
    );
    let page = Html::parse_document(&html(&data));
    assert!(page.errors.is_empty(), "{:?}", page.errors);
    assert_eq!(texts(&page, "#scatter svg circle").len(), 3);
    assert!(texts(&page, "#confusion").is_empty() && texts(&page, "#calibration").is_empty());
    let said = texts(&page, "#mistakes .predicted").concat();
    assert_eq!(said, "said 180");
    assert!(
        texts(&page, "#measures td.num").contains(&"11.6 [4.00–20.0]".into()),
        "{:?}",
        texts(&page, "#measures td.num")
    );
    assert!(texts(&page, "#data td.num").contains(&"200".into()));
    assert!(summary(&data).contains("gain +72.7 [+30.0, +99.0]"), "{}", summary(&data));
    assert!(
        markdown(&data).contains("| Always the mean | 84.3 | +72.7 [+30.0, +99.0] |"),
        "{}",
        markdown(&data)
    );
}

#[test]
fn labels_have_a_row_each() {
    let mut data = report(&["cat", "dog"], "pets");
    (data.plan.task, data.plan.metric) = (Task::MultiLabel, Metric::AveragePrecision);
    data.reliability.clear();
    let truth = Targets::Classes(vec![vec![0, 1], vec![0], vec![]]);
    data.metrics = Metrics::of(&data.plan.classes, &[0.9, 0.2, 0.8, 0.3, 0.1, 0.6], &truth);
    data.mistakes.shown.truncate(1);
    data.mistakes.shown[0].answer = Answer::Labels { missed: vec![1], invented: vec![0] };
    let page = Html::parse_document(&html(&data));
    assert!(page.errors.is_empty(), "{:?}", page.errors);
    // The dog ranks last of three: average precision 1/3; it is missed, and named where it is not.
    assert_eq!(
        texts(&page, "#measures table.classes tbody tr"),
        ["cat21.0001.0001.0001.0001.000", "dog10.3330.0000.0000.0000.000"]
    );
    assert_eq!(texts(&page, "#mistakes .truth"), ["missed dog"]);
    assert!(texts(&page, "#confusion").is_empty());
}

#[test]
fn little_data_makes_a_page_too() {
    let mut data = report(&["cat", "dog"], "pets");
    data.comparisons.clear();
    data.mistakes = Mistakes::default();
    data.reliability.clear();
    (data.scratch, data.l2, data.cache, data.peak_mb) = (None, None, None, None);
    data.timings.clear();
    data.plan.groups.clear();
    data.metrics = Metrics::of(&data.plan.classes, &[], &Targets::Class(vec![]));
    data.score_ci95 = [f64::NAN, f64::NAN].into();
    let page = Html::parse_document(&html(&data));
    assert!(page.errors.is_empty(), "{:?}", page.errors);
    assert_eq!(texts(&page, "h2").len(), 6);
    summary(&data);
    markdown(&data);
}

#[test]
fn the_same_data_make_the_same_page_through_json_too() {
    let data = report(&["cat", "dog"], "pets");
    let json = serde_json::to_string(&data).expect("the data are finite");
    assert!(json.contains(r#""bytes":"AQID""#), "pictures are base64");
    let again: ReportData = serde_json::from_str(&json).expect("what was written");
    assert_eq!(again, data);
    assert_eq!(html(&again), html(&data));
}
