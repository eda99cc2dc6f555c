//! Small charts as inline SVG.  They take numbers and words, know nothing of a run, and leave colours to the style
//! sheet, so that light, dark and paper each have their own.

use maud::{Markup, html};

use crate::number::{counted, share, short};
use headstart_core::ReliabilityBin;

/// A stretch of numbers that is drawn from left to right or from bottom to top.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// Drawn at the start.
    pub(crate) lo: f64,
    /// Drawn at the end.
    pub(crate) hi: f64,
    /// Equal steps are equal ratios.
    pub(crate) log: bool,
}

impl Scale {
    /// From 0 to 1.
    pub(crate) const UNIT: Scale = Scale { lo: 0.0, hi: 1.0, log: false };

    /// A linear scale that holds all finite values, with ends that are ticks.
    pub(crate) fn around(values: impl IntoIterator<Item = f64>) -> Self {
        let (mut lo, mut hi) = extent(values);
        if hi - lo < 1e-12 {
            (lo, hi) = (lo - 0.5, hi + 0.5);
        }
        let step = nice_step((hi - lo) / 4.0);
        Scale { lo: (lo / step).floor() * step, hi: (hi / step).ceil() * step, log: false }
    }

    /// A logarithmic scale that holds all positive values, with whole powers of ten as ends.
    pub(crate) fn around_log(values: impl IntoIterator<Item = f64>) -> Self {
        let (lo, hi) = extent(values.into_iter().filter(|v| *v > 0.0).map(f64::log10));
        let (lo, hi) = ((lo + 1e-9).floor(), (hi - 1e-9).ceil());
        Scale { lo: 10f64.powf(lo), hi: 10f64.powf(hi.max(lo + 1.0)), log: true }
    }

    /// Where a value lies, 0 at the start and 1 at the end.
    fn at(&self, v: f64) -> f64 {
        let f = if self.log {
            (v.log10() - self.lo.log10()) / (self.hi.log10() - self.lo.log10())
        } else {
            (v - self.lo) / (self.hi - self.lo)
        };
        if f.is_finite() { f.clamp(0.0, 1.0) } else { 0.0 }
    }

    fn ticks(&self) -> Vec<f64> {
        if self.log {
            let (a, b) = (self.lo.log10().round() as i32, self.hi.log10().round() as i32);
            let step = ((b - a) / 6 + 1).max(1) as usize;
            return (a..=b).step_by(step).map(|e| 10f64.powi(e)).collect();
        }
        let step = nice_step((self.hi - self.lo) / 4.0);
        let first = (self.lo / step).ceil() as i64;
        let n = ((self.hi - first as f64 * step) / step + 1e-6).floor() as i64;
        (0..=n.max(0)).map(|i| (first + i) as f64 * step).collect()
    }
}

fn extent(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let (lo, hi) = values
        .into_iter()
        .filter(|v| v.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(v), hi.max(v)));
    if lo <= hi { (lo, hi) } else { (0.0, 1.0) }
}

/// The smallest of 1, 2, 5 × 10ⁿ that is not below `x`.
fn nice_step(x: f64) -> f64 {
    let unit = 10f64.powf(x.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * unit).find(|s| *s >= x * (1.0 - 1e-9)).unwrap_or(unit)
}

/// A tick's number: `0.5`, `−0.2`, `10⁻⁴`.
fn tick(v: f64, log: bool) -> String {
    if log {
        let text = format!("{v:e}");
        let exponent = text.split_once('e').map_or("0", |(_, e)| e);
        return match exponent {
            "0" => "1".into(),
            "1" => "10".into(),
            "-1" => "0.1".into(),
            e => format!("10{}", e.chars().map(crate::number::superscript).collect::<String>()),
        };
    }
    // Multiples of a step carry the dust of binary fractions.
    short((v * 1e9).round() / 1e9)
}

fn px(v: f64) -> String {
    let text = format!("{v:.1}");
    text.strip_suffix(".0").map_or(text.clone(), String::from)
}

/// One row of a dot-and-interval chart, to stand in a table's cell beside its numbers.
pub(crate) fn strip(scale: Scale, value: f64, interval: Option<[f64; 2]>, class: &str) -> Markup {
    let x = |v: f64| 6.0 + scale.at(v) * 188.0;
    html! {
        svg.strip viewBox="0 0 200 40" aria-hidden="true" {
            @for t in scale.ticks() {
                line class=(if t.abs() < 1e-12 && scale.lo < 0.0 { "zero" } else { "grid" })
                    x1=(px(x(t))) x2=(px(x(t))) y1="0" y2="40" {}
            }
            @if let Some([lo, hi]) = interval {
                line class=(format!("interval {class}")) x1=(px(x(lo))) x2=(px(x(hi))) y1="20" y2="20" {}
            }
            circle class=(format!("dot {class}")) cx=(px(x(value))) cy="20" r="4.5" {}
        }
    }
}

/// The axis below a column of [`strip`]s.
pub(crate) fn strip_axis(scale: Scale) -> Markup {
    let x = |v: f64| 6.0 + scale.at(v) * 188.0;
    html! {
        svg.strip viewBox="0 0 200 18" aria-hidden="true" {
            @for t in scale.ticks() {
                text x=(px(x(t))) y="13" text-anchor=(anchor(scale.at(t))) { (tick(t, false)) }
            }
        }
    }
}

/// Labels at the ends lean inwards, lest they be cut off.
fn anchor(at: f64) -> &'static str {
    match at {
        a if a < 0.03 => "start",
        a if a > 0.97 => "end",
        _ => "middle",
    }
}

/// What [`line`] draws.
pub(crate) struct Line<'a> {
    /// For those who cannot see it.
    pub(crate) alt: &'a str,
    /// Below the horizontal axis, with its unit.
    pub(crate) x_label: &'a str,
    /// Above the vertical axis, with its unit.
    pub(crate) y_label: &'a str,
    /// Horizontally.
    pub(crate) x: Scale,
    /// Vertically.
    pub(crate) y: Scale,
    /// The points, by rising x.
    pub(crate) points: &'a [[f64; 2]],
    /// Half the length of each point's whisker, if it has one.
    pub(crate) errors: &'a [Option<f64>],
    /// The x of a point to mark, and what to write beside it.
    pub(crate) mark: Option<(f64, String)>,
}

const W: f64 = 420.0;
const H: f64 = 250.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 44.0;

/// A line chart.
pub(crate) fn line(c: &Line<'_>) -> Markup {
    let x = |v: f64| LEFT + c.x.at(v) * (W - LEFT - RIGHT);
    let y = |v: f64| H - BOTTOM - c.y.at(v) * (H - TOP - BOTTOM);
    let points: Vec<String> = c.points.iter().map(|p| format!("{},{}", px(x(p[0])), px(y(p[1])))).collect();
    let few = c.points.len() <= 24;
    let marked = c.mark.as_ref().and_then(|(at, label)| {
        let p = c.points.iter().min_by(|a, b| (a[0] - at).abs().total_cmp(&(b[0] - at).abs()))?;
        Some((x(p[0]), y(p[1]), label))
    });
    html! {
        svg.chart viewBox=(format!("0 0 {W} {H}")) role="img" aria-label=(c.alt) {
            @for t in c.y.ticks() {
                line.grid x1=(px(LEFT)) x2=(px(W - RIGHT)) y1=(px(y(t))) y2=(px(y(t))) {}
                text x=(px(LEFT - 8.0)) y=(px(y(t) + 4.0)) text-anchor="end" { (tick(t, c.y.log)) }
            }
            @for t in c.x.ticks() {
                line.axis x1=(px(x(t))) x2=(px(x(t))) y1=(px(H - BOTTOM)) y2=(px(H - BOTTOM + 4.0)) {}
                text x=(px(x(t))) y=(px(H - BOTTOM + 18.0)) text-anchor="middle" { (tick(t, c.x.log)) }
            }
            line.axis x1=(px(LEFT)) x2=(px(W - RIGHT)) y1=(px(H - BOTTOM)) y2=(px(H - BOTTOM)) {}
            text.label x=(px(W - RIGHT)) y=(px(H - 8.0)) text-anchor="end" { (c.x_label) }
            text.label x="0" y="12" { (c.y_label) }
            @for (p, e) in c.points.iter().zip(c.errors) {
                @if let Some(e) = e {
                    line.whisker x1=(px(x(p[0]))) x2=(px(x(p[0]))) y1=(px(y(p[1] - e))) y2=(px(y(p[1] + e))) {}
                }
            }
            polyline.line points=(points.join(" ")) {}
            @if few {
                @for p in c.points {
                    circle.point cx=(px(x(p[0]))) cy=(px(y(p[1]))) r="3" {}
                }
            }
            @if let Some((mx, my, label)) = marked {
                circle.mark cx=(px(mx)) cy=(px(my)) r="6" {}
                text.strong x=(px(mx)) y=(px((my - 14.0).max(TOP - 2.0)))
                    text-anchor=(anchor((mx - LEFT - 40.0) / (W - LEFT - RIGHT - 80.0))) { (label) }
            }
        }
    }
}

/// Predicted against true numbers, a dot an example, on one scale both ways.
pub(crate) fn scatter(points: &[[f64; 2]]) -> Markup {
    const SIDE: f64 = 330.0;
    let (left, top) = (62.0, 26.0);
    let scale = Scale::around(points.iter().flatten().copied());
    let x = |v: f64| left + scale.at(v) * SIDE;
    let y = |v: f64| top + (1.0 - scale.at(v)) * SIDE;
    let floor = top + SIDE;
    html! {
        svg.chart.square viewBox=(format!("0 0 {} {}", px(left + SIDE + 14.0), px(floor + 44.0))) role="img"
            aria-label="Predicted against true number of each test example" {
            text.label x="0" y="12" { "Predicted" }
            @for t in scale.ticks() {
                line.grid x1=(px(left)) x2=(px(left + SIDE)) y1=(px(y(t))) y2=(px(y(t))) {}
                text x=(px(left - 8.0)) y=(px(y(t) + 4.0)) text-anchor="end" { (tick(t, false)) }
                text x=(px(x(t))) y=(px(floor + 18.0)) text-anchor="middle" { (tick(t, false)) }
            }
            line.diagonal x1=(px(left)) y1=(px(floor)) x2=(px(left + SIDE)) y2=(px(top)) {}
            @for p in points {
                circle.point cx=(px(x(p[0]))) cy=(px(y(p[1]))) r="2.5" opacity="0.6" {}
            }
            line.axis x1=(px(left)) x2=(px(left + SIDE)) y1=(px(floor)) y2=(px(floor)) {}
            text.label x=(px(left + SIDE)) y=(px(floor + 38.0)) text-anchor="end" { "True" }
        }
    }
}

/// Confidence against accuracy, a dot a bin, its area by how many examples it holds; below, how many.
pub(crate) fn reliability(bins: &[ReliabilityBin]) -> Markup {
    const SIDE: f64 = 290.0;
    const BARS: f64 = 50.0;
    let (left, top) = (48.0, 26.0);
    let most = bins.iter().map(|b| b.n).max().unwrap_or(1).max(1) as f64;
    let x = |v: f64| left + v.clamp(0.0, 1.0) * SIDE;
    let y = |v: f64| top + (1.0 - v.clamp(0.0, 1.0)) * SIDE;
    let floor = top + SIDE + 12.0 + BARS;
    let ticks = [0.0, 0.25, 0.5, 0.75, 1.0];
    html! {
        svg.chart.square viewBox=(format!("0 0 {} {}", px(left + SIDE + 14.0), px(floor + 44.0))) role="img"
            aria-label="Accuracy against confidence, and how many test examples have which confidence" {
            text.label x="0" y="12" { "Share that was right" }
            @for t in ticks {
                line.grid x1=(px(left)) x2=(px(left + SIDE)) y1=(px(y(t))) y2=(px(y(t))) {}
                text x=(px(left - 8.0)) y=(px(y(t) + 4.0)) text-anchor="end" { (tick(t, false)) }
                text x=(px(x(t))) y=(px(floor + 18.0)) text-anchor="middle" { (tick(t, false)) }
            }
            line.diagonal x1=(px(x(0.0))) y1=(px(y(0.0))) x2=(px(x(1.0))) y2=(px(y(1.0))) {}
            text.quiet.halo x=(px(x(0.14))) y=(px(y(0.14) - 7.0))
                transform=(format!("rotate(-45 {} {})", px(x(0.14)), px(y(0.14)))) { "as sure as right" }
            @for b in bins {
                line.gap x1=(px(x(b.confidence))) x2=(px(x(b.confidence)))
                    y1=(px(y(b.confidence))) y2=(px(y(b.accuracy))) {}
                circle.bin cx=(px(x(b.confidence))) cy=(px(y(b.accuracy)))
                    r=(px(3.0 + 8.0 * (b.n as f64 / most).sqrt())) {
                    title {
                        (counted(b.n, "example")) ": confidence " (share(b.confidence)) ", right " (share(b.accuracy))
                    }
                }
                @let tall = (b.n as f64 / most * BARS).max(1.0);
                rect.bar x=(px(x(b.confidence) - 6.0)) y=(px(floor - tall)) width="12" height=(px(tall)) {}
            }
            line.axis x1=(px(left)) x2=(px(left + SIDE)) y1=(px(floor)) y2=(px(floor)) {}
            text.quiet x=(px(left - 8.0)) y=(px(floor - 2.0)) text-anchor="end" { "count" }
            text.label x=(px(left + SIDE)) y=(px(floor + 38.0)) text-anchor="end" { "Highest probability (confidence)" }
        }
    }
}

/// A square matrix of counts as a picture: rows are truth, columns prediction, darkness the share of the row.
/// Cells are gathered into a few paths, so that a thousand classes stay a small page.
pub(crate) fn matrix(counts: &[Vec<usize>], alt: &str) -> Markup {
    const LEVELS: usize = 5;
    let k = counts.len().max(1);
    let mut paths = vec![String::new(); 2 * LEVELS];
    for (t, row) in counts.iter().enumerate() {
        let total = row.iter().sum::<usize>().max(1);
        for (p, &n) in row.iter().enumerate().filter(|(_, n)| **n > 0) {
            let level = (n * LEVELS).div_ceil(total).clamp(1, LEVELS) - 1;
            let path = &mut paths[usize::from(t != p) * LEVELS + level];
            path.push_str(&format!("M{p} {t}h1v1h-1z"));
        }
    }
    html! {
        svg.chart.square.matrix viewBox=(format!("0 0 {k} {k}")) role="img" aria-label=(alt) shape-rendering="crispEdges" {
            rect.ground x="0" y="0" width=(k) height=(k) {}
            @for (i, path) in paths.iter().enumerate() {
                @if !path.is_empty() {
                    path class=(if i < LEVELS { "right" } else { "wrong" })
                        opacity=(format!("{:.1}", (i % LEVELS + 1) as f64 / LEVELS as f64)) d=(path) {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers() {
        let labels = |s: Scale| s.ticks().into_iter().map(|t| tick(t, s.log)).collect::<Vec<_>>();
        assert_eq!(labels(Scale::UNIT), ["0", "0.5", "1"]);
        assert_eq!(labels(Scale::around([-0.03, 0.41])), ["−0.2", "0", "0.2", "0.4", "0.6"]);
        assert_eq!(labels(Scale::around_log([1e-6, 0.1, 1.0])), ["10⁻⁶", "10⁻⁴", "10⁻²", "1"]);
        assert_eq!(labels(Scale::around([3.0, 3.0])), ["2.5", "3", "3.5"]);
        labels(Scale::around([f64::NAN]));
        labels(Scale::around_log([0.0]));
    }
}
