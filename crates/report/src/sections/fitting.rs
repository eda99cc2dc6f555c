//! How the head's penalty was chosen, and how the rival from random weights learned.

use headstart_core::SplitName;
use maud::{Markup, html};

use crate::ReportData;
use crate::data::{L2Curve, ScratchCurve};
use crate::number::{counted, share, short, sig3};
use crate::plot::{Line, Scale, line};

pub(crate) fn section(d: &ReportData) -> Markup {
    html! {
        @if let Some(l2) = &d.l2 {
            h3 { "Strength of the L2 penalty" }
            (l2_curve(l2))
        }
        @if !d.training.is_empty() {
            h3 { "Training" }
            (training_curve(d))
        }
        @if let Some(scratch) = &d.scratch {
            h3 { "The same network from random weights" }
            (scratch_curves(scratch))
        }
    }
}

/// Loss by pass over all phases.
fn training_curve(d: &ReportData) -> Markup {
    let passes: Vec<(&str, f64, Option<f64>)> =
        d.training.iter().flat_map(|p| p.passes.iter().map(|(t, v)| (p.name.as_str(), *t, *v))).collect();
    let points: Vec<[f64; 2]> = passes.iter().enumerate().map(|(i, p)| [i as f64 + 1.0, p.1]).collect();
    let has_valid = passes.iter().any(|p| p.2.is_some());
    html! {
        div.columns {
            figure {
                (line(&Line {
                    alt: "Training loss by pass",
                    x_label: "Pass",
                    y_label: "Training loss",
                    x: Scale::around(points.iter().map(|p| p[0])),
                    y: Scale::around(points.iter().map(|p| p[1]).chain([0.0])),
                    points: &points,
                    errors: &[],
                    mark: None,
                }))
                figcaption { "Mean over each pass, before each step's update." }
            }
            div.scroll {
                table {
                    caption.hidden { "Loss by pass" }
                    thead {
                        tr {
                            th scope="col" { "Phase" }
                            th.num scope="col" { "Pass" }
                            th.num scope="col" { "Training loss" }
                            @if has_valid { th.num scope="col" { "Validation loss" } }
                        }
                    }
                    tbody {
                        @for (i, (name, train, valid)) in passes.iter().enumerate() {
                            tr {
                                td { (name) }
                                td.num { (i + 1) }
                                td.num { (sig3(*train)) }
                                @if has_valid { td.num { @if let Some(v) = valid { (sig3(*v)) } } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn l2_curve(c: &L2Curve) -> Markup {
    let points: Vec<[f64; 2]> = c.points.iter().map(|p| [p.l2, p.loss]).collect();
    let errors: Vec<Option<f64>> = c.points.iter().map(|p| p.loss_se).collect();
    let reach = c.points.iter().flat_map(|p| {
        let e = p.loss_se.unwrap_or(0.0);
        [p.loss - e, p.loss + e]
    });
    html! {
        div.columns {
            figure {
                (line(&Line {
                    alt: "Loss on held-out folds against the strength of the L2 penalty",
                    x_label: "Strength λ",
                    y_label: "Loss on held-out folds",
                    x: Scale::around_log(c.points.iter().map(|p| p.l2)),
                    y: Scale::around(reach),
                    points: &points,
                    errors: &errors,
                    mark: Some((c.chosen, format!("λ = {}", short(c.chosen)))),
                }))
                figcaption {
                    "Mean over " (counted(c.n_folds, "fold")) " of the training examples; whiskers are one standard error."
                }
            }
            div.scroll {
                table {
                    caption.hidden { "Loss by strength" }
                    thead { tr { th.num scope="col" { "λ" } th.num scope="col" { "Loss" } th scope="col" { span.hidden { "Choice" } } } }
                    tbody {
                        @for p in &c.points {
                            tr {
                                td.num { (short(p.l2)) }
                                td.num { (sig3(p.loss)) @if let Some(se) = p.loss_se { span.range { " ± " (sig3(se)) } } }
                                td { @if p.l2 == c.chosen { span.tag { "chosen" } } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn scratch_curves(c: &ScratchCurve) -> Markup {
    let loss: Vec<[f64; 2]> = (1u32..).zip(&c.passes).map(|(i, p)| [i.into(), p.train_loss]).collect();
    let accuracy: Vec<[f64; 2]> =
        (1u32..).zip(&c.passes).filter_map(|(i, p)| Some([i.into(), p.accuracy?])).collect();
    let split = match c.accuracy_split {
        SplitName::Train => "training examples",
        SplitName::Valid => "validation examples",
        SplitName::Test => "test examples",
    };
    let chart = |alt: &str, y_label: &str, y: Scale, points: &[[f64; 2]], last: fn(f64) -> String| {
        line(&Line {
            alt,
            x_label: "Pass over the training examples",
            y_label,
            x: Scale { lo: 0.0, hi: c.passes.len().max(1) as f64, log: false },
            y,
            points,
            errors: &[],
            mark: points.last().map(|p| (p[0], last(p[1]))),
        })
    };
    html! {
        div.columns {
            figure {
                (chart("Training loss by pass", "Training loss", Scale::around(loss.iter().map(|p| p[1]).chain([0.0])), &loss, sig3))
            }
            @if !accuracy.is_empty() {
                figure {
                    (chart("Accuracy by pass", &format!("Accuracy on {split}"), Scale::UNIT, &accuracy, share))
                }
            }
        }
    }
}
