//! Forward passes and training steps of networks with random weights, beside PyTorch and onnxruntime.

use serde::Deserialize;

use super::{Bench, add, answer, median};

/// Networks with the batch that they are compared at.
const NETWORKS: [(&str, usize); 9] = [
    ("resnet18", 16),
    ("resnet50", 8),
    ("resnext50_32x4d", 8),
    ("inception_v3", 8),
    ("densenet121", 8),
    ("mobilenet_v2", 16),
    ("tf_efficientnet_lite0", 16),
    ("minilm-l6", 16),
    ("bert-base", 8),
];

/// One row of the page.
struct Row {
    work: &'static str,
    arch: &'static str,
    batch: usize,
    dtype: &'static str,
    /// Of these, the fastest is to be passed.
    peers: &'static [&'static str],
    /// The least ratio that the project asks of itself.
    asked: f64,
}

/// What one run answered.
#[derive(Debug, Clone, Deserialize)]
struct Answer {
    items_per_s: f64,
    peak_mb: f64,
    /// What `auto` chose.
    precision: Option<String>,
}

fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    for (arch, batch) in NETWORKS {
        let row = |work, dtype, peers, asked| Row { work, arch, batch, dtype, peers, asked };
        let is_text = ["minilm-l6", "bert-base"].contains(&arch);
        rows.push(row("forward", "f32", &["onnxruntime"], if is_text { 1.0 } else { 0.9 }));
        rows.push(row("forward", "bf16", &["torch-bf16"], 1.0));
        // Dynamic quantisation, which needs no calibration, is of linear layers: it slows convolutional networks down.
        let peers: &[&str] = if is_text {
            &["torch", "torch-bf16", "onnxruntime", "onnxruntime-int8"]
        } else {
            &["torch", "torch-bf16", "onnxruntime"]
        };
        rows.push(row("forward", "auto", peers, 1.3));
        if arch != "tf_efficientnet_lite0" {
            rows.push(row("step", "f32", &["torch"], 1.1));
            rows.push(row("step", "bf16", &["torch-bf16"], 1.0));
        }
    }
    rows
}

/// Runs the rows that are wanted.
pub(super) fn rows(bench: &Bench<'_>, page: &mut String) -> Result<(), String> {
    let rows: Vec<(String, Row)> =
        all().into_iter().map(|r| (format!("{} {} {}", r.work, r.arch, r.dtype), r)).collect();
    if !rows.iter().any(|(name, _)| bench.wants(name)) {
        return Ok(());
    }
    let head = "## Networks\n\nRandom weights, pictures of 224 pixels (Inception's of 299), texts of 128 tokens.  `auto` is the fastest precision that the batch's \
                outputs keep (with random weights they keep less than a trained network's features do).\n\n\
                | work | Headstart, items/s | fastest peer, items/s | ratio | asked | memory |\n|---|---|---|---|---|---|";
    add(page, head)?;
    for (name, row) in rows.into_iter().filter(|(name, _)| bench.wants(name)) {
        let mut rounds = Vec::new();
        for _ in 0..bench.asked.rounds {
            let ours = own(bench, &row)?;
            let all = row.peers.iter().map(|peer| Ok((*peer, other(bench, &row, peer)?)));
            let all = all.collect::<Result<Vec<_>, String>>()?;
            let fastest = all.into_iter().max_by(|a, b| a.1.items_per_s.total_cmp(&b.1.items_per_s));
            let (peer, theirs) = fastest.ok_or("a row has a peer")?;
            rounds.push((ours, peer, theirs));
        }
        let of = |f: &dyn Fn(&(Answer, &str, Answer)) -> f64| median(rounds.iter().map(f));
        let (last, peer, _) = rounds.last().ok_or("a row has a round")?;
        let chosen = last.precision.as_deref().filter(|_| row.dtype == "auto");
        let line = format!(
            "| {name}{}, batch {} | {:.1} | {:.1} ({peer}) | **{:.2}** | {:.1} | {:.2} |",
            chosen.map_or(String::new(), |p| format!(" ({p})")),
            row.batch,
            of(&|r| r.0.items_per_s),
            of(&|r| r.2.items_per_s),
            of(&|r| r.0.items_per_s / r.2.items_per_s),
            row.asked,
            of(&|r| r.0.peak_mb / r.2.peak_mb)
        );
        add(page, &line)?;
    }
    add(page, "")
}

fn own(bench: &Bench<'_>, row: &Row) -> Result<Answer, String> {
    let mut command = bench.headstart();
    command.args(["bench", row.work, "--arch", row.arch, "--dtype", row.dtype]);
    answer(command.args(["--batch", &row.batch.to_string()]))
}

fn other(bench: &Bench<'_>, row: &Row, peer: &str) -> Result<Answer, String> {
    answer(bench.peer("networks.py").args([row.work, row.arch, &row.batch.to_string(), peer]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_network_is_compared_in_every_way() {
        assert_eq!(all().len(), 9 * 3 + 8 * 2);
        assert!(all().iter().all(|row| !row.peers.is_empty() && row.asked >= 0.9));
    }
}
