//! `convert`: one format into another, with the figure that says how both compare.

use headstart::{ConvertOptions, Error, Session, convert};

use crate::args::ConvertArgs;
use crate::output;

/// Converts, and says what was compared.
pub(crate) fn run(session: &Session, args: &ConvertArgs, json: bool) -> Result<u8, Error> {
    let options = ConvertOptions {
        to: args.format.map(Into::into),
        source: args.source.options(),
        opset: Some(args.opset),
        force: args.force,
    };
    let done = convert(session, &args.from, &args.to, &options)?;
    if json {
        output::json(&done);
        return Ok(0);
    }
    println!("{} → {}: {} bytes", done.from, done.path.display(), done.bytes);
    println!("read back, {} of {} tensors are equal in every bit", done.n_tensors_equal, done.n_tensors);
    if let Some(outputs) = &done.outputs {
        let shapes: Vec<String> = outputs.inputs.iter().map(|(name, s)| format!("{name} {s:?}")).collect();
        println!(
            "on seeded inputs ({}) {} outputs differ by {:.1e} at most (allowed is {:.0e})",
            shapes.join(", "),
            outputs.n_compared,
            outputs.difference_max,
            outputs.allowed
        );
    }
    if let Some(class) = &done.class {
        println!("{class} loads it");
    }
    for note in &done.notes {
        println!("note: {note}");
    }
    Ok(0)
}
