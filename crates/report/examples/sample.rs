//! Writes sample pages from made-up runs: `cargo run -p headstart-report --example sample -- FOLDER`.
//!
//! `flowers.html` is a picture task that went well, `reviews.html` a text task where the test cannot tell, and
//! `birds.html` has forty classes and a transfer that hurt.

use std::path::PathBuf;

use headstart_core::{
    BaselinePlan, ClassificationMetrics, Comparison, Diagnostic, GroupPlan, GroupState, HeadPlan, Metric,
    Metrics, Modality, Plan, SplitName, SplitPlan, Task, Verdict, reliability,
};
use headstart_graph::Card;
use headstart_report::{
    Answer, CacheFacts, ClassCounts, DataSummary, Fact, L2Curve, L2Point, MediaType, Mistake, MistakeContent,
    Mistakes, Picture, ReportData, ScratchCurve, ScratchPass, Timing, html, markdown, summary,
    verdict_sentence,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| ".".into()));
    std::fs::create_dir_all(&folder)?;
    for (name, data) in [("flowers", flowers()), ("reviews", reviews()), ("birds", birds())] {
        let path = folder.join(format!("{name}.html"));
        std::fs::write(&path, html(&data))?;
        std::fs::write(path.with_extension("md"), markdown(&data))?;
        println!("{}\n  {}\n", summary(&data), path.display());
    }
    Ok(())
}

fn flowers() -> ReportData {
    let classes = [
        "bluebell",
        "buttercup",
        "coltsfoot",
        "cowslip",
        "crocus",
        "daffodil",
        "dandelion",
        "iris",
        "snowdrop",
    ];
    let spec = Spec {
        title: "flowers",
        modality: Modality::Image,
        n_test: 15,
        skill: 3.1,
        baselines: &[("majority", 0.800, 0.07), ("scratch", 0.407, 0.09)],
        size_px: Some(112),
    };
    let card = Card {
        id: "resnet18-a1".into(),
        architecture: "resnet18".into(),
        origin: "hf:timm/resnet18.a1_in1k@491b427".into(),
        licence: "Apache-2.0".into(),
        sha256: "5d1cf9f8a4c1b6b9b2c5a7ce1b5b1a3e9b0d7c1c6a5f4e3d2c1b0a9f8e7d6c5b".into(),
        trained_on: "ImageNet-1k, 1.28 million photographs of 1,000 kinds of things".into(),
        paper:
            "He et al., 2015, Deep Residual Learning for Image Recognition, https://arxiv.org/abs/1512.03385"
                .into(),
        limits: "Photographs of everyday things; not for diagnosis.".into(),
        config: None,
    };
    let mut d = run(&spec, &classes.map(String::from), card);
    d.data.diagnostics = vec![
        Diagnostic {
            path: "crocus/img_0231.jpg".into(),
            line: None,
            message: "the file ends early: 12,288 of 40,113 bytes".into(),
            skipped: true,
        },
        Diagnostic {
            path: "iris/Thumbs.db".into(),
            line: None,
            message: "not a picture".into(),
            skipped: true,
        },
        Diagnostic {
            path: "daffodil/copy (2).jpg".into(),
            line: None,
            message: "the same bytes as daffodil/img_0007.jpg; kept on one side of the split".into(),
            skipped: false,
        },
    ];
    (d.data.n_diagnostics, d.data.n_skipped) = (14, 9);
    d
}

fn reviews() -> ReportData {
    let spec = Spec {
        title: "reviews.csv",
        modality: Modality::Text,
        n_test: 24,
        skill: 1.5,
        baselines: &[("majority", 0.1875, 0.16), ("scratch", -0.041, 0.11)],
        size_px: None,
    };
    let card = Card {
        id: "bert-mini".into(),
        architecture: "bert".into(),
        origin: "hf:google/bert_uncased_L-4_H-256_A-4@387dd9b".into(),
        licence: "Apache-2.0".into(),
        trained_on: "English Wikipedia and BookCorpus, masked words".into(),
        paper: "Turc et al., 2019, https://arxiv.org/abs/1908.08962".into(),
        ..Card::default()
    };
    run(&spec, &["negative".into(), "positive".into()], card)
}

fn birds() -> ReportData {
    let classes: Vec<String> = (1..=40).map(|i| format!("species {i:02}")).collect();
    let spec = Spec {
        title: "birds",
        modality: Modality::Image,
        n_test: 12,
        skill: 2.4,
        baselines: &[("majority", 0.598, 0.04), ("scratch", -0.119, 0.05)],
        size_px: Some(64),
    };
    let mut d =
        run(&spec, &classes, Card { id: "squeezenet".into(), licence: "unknown".into(), ..Card::default() });
    d.fallback = Some("scratch".into());
    d
}

/// What tells the samples apart.
struct Spec {
    title: &'static str,
    modality: Modality,
    n_test: usize,
    skill: f64,
    /// Name, gain over it, half its interval.
    baselines: &'static [(&'static str, f64, f64)],
    size_px: Option<usize>,
}

fn run(s: &Spec, classes: &[String], source: Card) -> ReportData {
    let mut dice = Dice(7);
    let (probabilities, truth) = predictions(&mut dice, classes.len(), s.n_test, s.skill);
    let metrics = ClassificationMetrics::of(classes, &probabilities, &truth);
    let half = 1.96 * (metrics.accuracy * (1.0 - metrics.accuracy) / metrics.n as f64).sqrt();
    let score_ci95 = [metrics.accuracy - half, (metrics.accuracy + half).min(1.0)].into();
    let comparisons: Vec<Comparison> = s
        .baselines
        .iter()
        .map(|&(name, gain, half)| Comparison {
            baseline: name.into(),
            score: metrics.accuracy - gain,
            gain,
            gain_ci95: [gain - half, gain + half].into(),
        })
        .collect();
    let verdict = Verdict::of(&comparisons);
    let counts: Vec<ClassCounts> = classes
        .iter()
        .map(|c| ClassCounts {
            class: c.clone(),
            n_train: 48 + dice.below(30),
            n_valid: if s.modality == Modality::Text { 0 } else { 8 },
            n_test: s.n_test,
        })
        .collect();
    let plan = plan(s, classes, &counts);
    ReportData {
        title: s.title.into(),
        sentence: verdict_sentence(verdict, metrics.accuracy, score_ci95, &comparisons, &plan, metrics.n),
        reliability: reliability(classes.len(), &probabilities, &truth),
        mistakes: mistakes(&mut dice, s.modality, classes.len(), &probabilities, &truth),
        data: DataSummary {
            path: s.title.into(),
            blake3: "9f2c4b7a1d8e6f503c2b1a9e8d7f6c5b4a3928170f1e2d3c4b5a69788796a5b4".into(),
            n_train: counts.iter().map(|c| c.n_train).sum(),
            n_test: metrics.n,
            classes: counts,
            numbers: vec![],
            diagnostics: vec![],
            n_diagnostics: 0,
            n_skipped: 0,
        },
        plan,
        source,
        verdict,
        fallback: None,
        score: metrics.accuracy,
        metrics: Metrics::Classification(metrics),
        score_ci95,
        scatter: vec![],
        comparisons,
        scratch: Some(ScratchCurve {
            passes: (0..30)
                .map(|i| ScratchPass {
                    train_loss: 2.2 * (-f64::from(i) / 14.0).exp() + 0.05 * dice.unit(),
                    accuracy: Some(0.52 - 0.4 * (-f64::from(i) / 8.0).exp() + 0.03 * dice.unit()),
                })
                .collect(),
            accuracy_split: SplitName::Valid,
        }),
        training: Vec::new(),
        forecast: None,
        l2: Some(L2Curve {
            points: (0..9)
                .map(|i| L2Point {
                    l2: 10f64.powi(i - 7),
                    loss: 0.34 + 0.021 * f64::from((i - 3).pow(2)),
                    loss_se: Some(0.03),
                })
                .collect(),
            chosen: 1e-4,
            n_folds: 5,
        }),
        timings: [
            ("Read and check the data", 0.81),
            ("Load the source", 0.123),
            ("Extract features", 9.4),
            ("Fit the head", 1.74),
            ("Train from random weights", 27.6),
            ("Evaluate and seal", 0.52),
        ]
        .map(|(what, seconds)| Timing { what: what.into(), seconds })
        .to_vec(),
        peak_mb: Some(412.7),
        cache: Some(CacheFacts { n_hits: 0, n_misses: 765, size_bytes: 1_608_412 }),
        facts: [
            ("Headstart", "0.1.0"),
            ("Device", "cpu, f32, AVX-512"),
            ("Bundle, blake3", "1c9d3a5e7f80b2c4d6e8fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3e4f"),
        ]
        .map(|(name, value)| Fact { name: name.into(), value: value.into() })
        .to_vec(),
        command_predict: format!("headstart predict runs/{0}/bundle NEW_FILES", s.title),
        command_reproduce: format!(
            "headstart fit {0} --source resnet18-a1 --recipe probe --seed 7 --out runs/{0}",
            s.title
        ),
    }
}

fn plan(s: &Spec, classes: &[String], counts: &[ClassCounts]) -> Plan {
    let group = |name: &str, n, state| match state {
        GroupState::Frozen => GroupPlan::frozen(name, n),
        _ => GroupPlan::trained(name, n),
    };
    let mut groups = vec![group("conv1", 9408, GroupState::Frozen), group("bn1", 128, GroupState::Frozen)];
    for (layer, n) in [(1, 73_984), (2, 262_912), (3, 1_050_112), (4, 4_197_376)] {
        groups.extend((0..2).map(|i| group(&format!("layer{layer}.{i}"), n, GroupState::Frozen)));
    }
    groups.push(group("head", 513 * classes.len(), GroupState::Trained));
    Plan {
        modality: s.modality,
        task: Task::Classification,
        metric: Metric::Accuracy,
        recipe: "probe".into(),
        source: "resnet18-a1".into(),
        tap: "avgpool".into(),
        feature_width: 512,
        classes: classes.to_vec(),
        seed: 7,
        split: SplitPlan {
            given: s.modality == Modality::Text,
            seed: 0,
            n_train: counts.iter().map(|c| c.n_train).sum(),
            n_valid: counts.iter().map(|c| c.n_valid).sum(),
            n_test: counts.iter().map(|c| c.n_test).sum(),
        },
        precision: Default::default(),
        head: HeadPlan { kind: Default::default(), scaling: Default::default(), l2_candidates: vec![1e-4; 9], n_folds: 5, class_weights: false },
        training: None,
        baseline: Some(BaselinePlan {
            n_passes: 30,
            batch_size: 32,
            size_px: s.size_px,
            length_max: None,
            lr_max: 1e-3,
            cost_ratio: 9.1,
            why: "30 passes at 112×112 pixels cost 9.1 times as much as extracting the features once, the most that \
                  the budget of 10 allows."
                .into(),
        }),
        unused_weights: vec!["fc.weight".into(), "fc.bias".into()],
        groups,
        notes: vec!["Batch norm of the frozen part uses the source's statistics, in training as in prediction.".into()],
    }
}

/// Probabilities `[n, k]` and the true classes; neighbours among the classes are confused most.
fn predictions(dice: &mut Dice, k: usize, n_each: usize, skill: f64) -> (Vec<f32>, Vec<usize>) {
    let (mut probabilities, mut truth) = (Vec::new(), Vec::new());
    for i in 0..k * n_each {
        let t = i / n_each;
        let logits: Vec<f64> = (0..k)
            .map(|c| {
                let near = if c == t {
                    skill
                } else if c.abs_diff(t) == 1 {
                    0.9
                } else {
                    0.0
                };
                1.6 * (near + (dice.unit() + dice.unit() + dice.unit() - 1.5) * 1.9)
            })
            .collect();
        let sum: f64 = logits.iter().map(|l| l.exp()).sum();
        probabilities.extend(logits.iter().map(|l| (l.exp() / sum) as f32));
        truth.push(t);
    }
    (probabilities, truth)
}

fn mistakes(
    dice: &mut Dice,
    modality: Modality,
    k: usize,
    probabilities: &[f32],
    truth: &[usize],
) -> Mistakes {
    let mut shown = Vec::new();
    for (i, (row, &t)) in probabilities.chunks(k).zip(truth).enumerate() {
        let p = (0..k).fold(0, |best, c| if row[c] > row[best] { c } else { best });
        if p == t {
            continue;
        }
        let (id, content) = match modality {
            Modality::Image => (
                format!("class_{t}/img_{i:04}.jpg"),
                MistakeContent::Picture(Picture {
                    media_type: MediaType::Png,
                    bytes: thumbnail(dice, t, p, k),
                }),
            ),
            Modality::Text => (
                format!("reviews.csv:{}", 2 + 37 * i),
                MistakeContent::Text(REVIEWS[i % REVIEWS.len()].into()),
            ),
        };
        shown.push(Mistake {
            id,
            content,
            answer: Answer::Class {
                truth_idx: t,
                predicted_idx: p,
                probability: row[p],
                probability_truth: row[t],
            },
        });
    }
    let n = shown.len();
    shown.truncate(18);
    Mistakes { n, shown }
}

const REVIEWS: [&str; 4] = [
    "Not bad at all, although I had expected the battery to last longer than it did in the end.",
    "I wanted to love this. The first chapter is wonderful, and then nothing happens for three hundred pages.",
    "Oh great, another update that <b>moves every button</b>. Exactly what I needed on a Monday.",
    "Works.",
];

/// A flower of sorts, 96×96: petals in one colour, a heart in another.
fn thumbnail(dice: &mut Dice, truth: usize, predicted: usize, k: usize) -> Vec<u8> {
    const SIDE: u32 = 96;
    let hue =
        |c: usize, shift: f64| ((c as f64 / k as f64 + shift) * std::f64::consts::TAU).sin() * 80.0 + 150.0;
    let colour = |c: usize| [hue(c, 0.0) as u8, hue(c, 0.33) as u8, hue(c, 0.66) as u8];
    let petals = 5.0 + (truth % 4) as f64;
    let turn = dice.unit() * 3.0;
    let pixels: Vec<u8> = (0..SIDE * SIDE)
        .flat_map(|i| {
            let (x, y) = (f64::from(i % SIDE) - 48.0, f64::from(i / SIDE) - 46.0);
            let (r, angle) = (x.hypot(y), y.atan2(x));
            if r < 9.0 {
                colour(predicted)
            } else if r < 24.0 + 15.0 * (angle * petals + turn).cos() {
                colour(truth)
            } else {
                [58, 92 + (y / 2.0) as u8 % 60, 52].map(|v| v + dice.below(14) as u8)
            }
        })
        .collect();
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, SIDE, SIDE);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().expect("a Vec takes every byte");
    writer.write_image_data(&pixels).expect("the pixels fill the size");
    writer.finish().expect("a Vec takes every byte");
    bytes
}

/// Xorshift: the same samples everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}
