//! Prints graphs as JSON, one a line: `graph_json NAME CLASSES SIZE_PX …` (0 for no classes, 0 for the own size).

use headstart_zoo::{BuildOptions, build};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    for three in arguments.chunks(3) {
        let [name, classes, size_px] = three else { return Err("usage: NAME CLASSES SIZE_PX …".into()) };
        let positive = |s: &String| s.parse::<usize>().map(|n| (n > 0).then_some(n));
        let options = BuildOptions { n_classes: positive(classes)?, image_size_px: positive(size_px)? };
        println!("{}", serde_json::to_string(&build(name, &options)?)?);
    }
    Ok(())
}
