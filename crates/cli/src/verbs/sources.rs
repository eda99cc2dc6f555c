//! `sources`: what is known, what it is, and fetching it ahead of time.

use headstart::{Error, Session, Source, SourceOptions, architectures, bytes, catalogue, render};
use serde_json::json;

use crate::args::{SourcesArgs, SourcesVerb};
use crate::output;

pub(crate) fn run(session: &Session, args: &SourcesArgs, as_json: bool) -> Result<u8, Error> {
    match &args.verb {
        None if args.architectures => list_architectures(as_json),
        None => list(as_json),
        Some(SourcesVerb::Show { id, graph }) => show(id, *graph, as_json),
        Some(SourcesVerb::Fetch { id, arch }) => fetch(session, id, arch.clone(), as_json),
    }
}

fn list(as_json: bool) -> Result<u8, Error> {
    if as_json {
        output::json(&catalogue().entries);
        return Ok(0);
    }
    println!("{:<28} {:<6} {:<12} {:>9}  {:<9} origin", "id", "task", "licence", "size", "checked");
    for e in &catalogue().entries {
        let size = e.size_bytes.map_or("?".into(), bytes);
        let checked = if e.is_verified() { "SHA-256" } else { "not yet" };
        let task = format!("{:?}", e.modality()?).to_lowercase();
        println!("{:<28} {task:<6} {:<12} {size:>9}  {checked:<9} {}", e.id, e.licence, e.origin);
    }
    println!("\nAny other network: --source hf:owner/repo, file:FOLDER, or a weights file with --arch.");
    Ok(0)
}

fn list_architectures(as_json: bool) -> Result<u8, Error> {
    if as_json {
        let all: Vec<_> = architectures()
            .map(|a| json!({"name": a.name, "family": a.family, "size_px": a.size_px, "paper": a.paper}))
            .collect();
        output::json(&all);
        return Ok(0);
    }
    for a in architectures() {
        println!("{:<28} {}", a.name, a.paper);
    }
    Ok(0)
}

fn show(id: &str, whole: bool, as_json: bool) -> Result<u8, Error> {
    let entry = catalogue().entry(id);
    let graph = match &entry {
        Ok(entry) => entry.graph()?,
        // Not in the catalogue, but perhaps an architecture; else the catalogue's answer names the nearest ids.
        Err(unknown) => match headstart::build_architecture(id, 1000) {
            Ok(graph) => graph,
            Err(_) => return Err(unknown.clone().into()),
        },
    };
    if as_json {
        let entry = entry.ok();
        output::json(
            &json!({"entry": entry, "graph": whole.then_some(&graph), "parameters": graph.n_learned()}),
        );
        return Ok(0);
    }
    if let Ok(e) = &entry {
        println!("{}", e.id);
        println!("  origin        {}", e.origin);
        println!("  architecture  {}", e.architecture);
        println!("  trained on    {}", e.trained_on);
        println!("  licence       {}", e.licence);
        println!("  SHA-256       {}", if e.is_verified() { &e.sha256 } else { "not measured yet" });
        if !e.limits.is_empty() {
            println!("  limits        {}", e.limits);
        }
        println!("  paper         {}\n", e.card()?.paper);
    }
    if whole {
        print!("{}", render(&graph));
    } else {
        println!(
            "{} learned parameters; the whole graph: headstart sources show {id} --graph",
            graph.n_learned()
        );
        for g in headstart::groups(&graph) {
            println!("  {:<48} {:>12}", g.name, g.n_parameters);
        }
    }
    Ok(0)
}

fn fetch(session: &Session, id: &str, arch: Option<String>, as_json: bool) -> Result<u8, Error> {
    let source = Source::open(session, id, &SourceOptions { arch, ..SourceOptions::default() })?;
    if as_json {
        output::json(&json!({"card": source.model.card, "report": source.report}));
    } else {
        println!("{id} is in the cache and loads:\n{}", source.report);
    }
    Ok(0)
}
