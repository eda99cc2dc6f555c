//! `export`: a bundle's network as a file for other tools.

use headstart::{Error, ExportOptions, Session, export};

use super::bundle_dir;
use crate::args::ExportArgs;
use crate::output;

/// Writes, checks, and says what was compared.
pub(crate) fn run(session: &Session, args: &ExportArgs, json: bool) -> Result<u8, Error> {
    let options = ExportOptions {
        format: args.format.into(),
        opset: args.opset,
        with_preprocess: args.with_preprocess,
    };
    let summary = export(session, &bundle_dir(&args.bundle), &args.out, &options)?;
    if json {
        output::json(&summary);
    } else {
        if let Some(class) = &summary.class {
            println!("{} loads it", class);
        }
        println!(
            "{}: {} bytes; loaded again, {} golden predictions differ by {:.1e} at most",
            args.out.display(),
            summary.bytes,
            summary.golden,
            summary.difference_max
        );
    }
    Ok(0)
}
