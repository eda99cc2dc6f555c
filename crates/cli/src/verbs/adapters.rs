//! `adapters`: inputs through one base and each of several adapters on it.

use std::path::Path;

use headstart::{AdapterSet, Error, Session};
use serde_json::json;

use super::predict::inputs;
use crate::args::AdaptersArgs;
use crate::output;

/// The base first, then every adapter in the order in which they were named.
pub(crate) fn run(session: &Session, args: &AdaptersArgs, as_json: bool) -> Result<u8, Error> {
    let mut set = AdapterSet::open(session, &args.base)?;
    let mut names = vec![None];
    for adapter in &args.adapters {
        let (name, folder) = adapter.split_once('=').ok_or_else(|| Error::Request {
            message: format!("--adapter is `{adapter}`, without a name"),
            hint: Some(format!("give it one: --adapter NAME={adapter}")),
        })?;
        set.add(name, Path::new(folder))?;
        names.push(Some(name));
    }
    for (input, content) in inputs(&args.inputs, set.modality())? {
        if !as_json {
            println!("{input}");
        }
        for &name in &names {
            set.switch(name)?;
            let outputs = set.answer(&content)?;
            let labels = &set.model().labels;
            let best = (0..outputs.len()).max_by(|&a, &b| outputs[a].total_cmp(&outputs[b]));
            let label = best.filter(|_| labels.len() == outputs.len()).map(|i| labels[i].as_str());
            if as_json {
                output::json(&json!({"input": input, "adapter": name, "outputs": outputs, "label": label}));
            } else {
                println!("  {:<24} {}", name.unwrap_or("(the base)"), text(&outputs, label));
            }
        }
    }
    Ok(0)
}

/// The first of the numbers, and the label of the largest.
fn text(outputs: &[f32], label: Option<&str>) -> String {
    const SHOWN: usize = 6;
    let shown: Vec<String> = outputs.iter().take(SHOWN).map(|v| format!("{v:.4}")).collect();
    let more =
        if outputs.len() > SHOWN { format!(" … ({} numbers)", outputs.len()) } else { String::new() };
    let label = label.map(|l| format!("  {l}")).unwrap_or_default();
    format!("{}{more}{label}", shown.join(" "))
}
