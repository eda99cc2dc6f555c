//! The language of augmentations, and views as functions of their seed.

use std::sync::Arc;

use headstart_core::Input;
use headstart_graph::{Filter, ImagePreprocess, Preprocess, Resize};

use super::*;
use crate::{Prepared, Preparer};

fn image(text: &str) -> Result<Augmentation, DataError> {
    Augmentation::parse(text, Modality::Image)
}

#[test]
fn what_is_written_is_what_was_read() {
    for text in [
        "none",
        "flip=0.5,crop=0.6-1,rotate=10,jitter=0.2,randaugment=2x9,erase=0.25",
        "jitter=0.4/0.4/0.2/0.1",
        "crop=0.08-1",
    ] {
        let read = image(text).unwrap();
        assert_eq!(read.to_string(), text);
        let json = serde_json::to_string(&read).unwrap();
        assert_eq!(json, format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<Augmentation>(&json).unwrap(), read);
    }
    let text = "swap=0.1,delete=0.1,mask=0.1,typo=0.05,case=0.1";
    let json = format!("\"{text}\"");
    assert_eq!(serde_json::from_str::<Augmentation>(&json).unwrap().modality(), Some(Modality::Text));
    assert_eq!(
        image(" flip , crop=0.6-1.0,, rotate ").unwrap(),
        image("flip=0.5,crop=0.6-1,rotate=10").unwrap()
    );
}

#[test]
fn defaults_and_presets_are_valid_and_the_doc_tells_the_truth() {
    let source = include_str!("mod.rs");
    for form in augmentation_steps() {
        Augmentation::parse(form.key, form.modality).unwrap();
    }
    for name in PRESETS {
        let row = source.lines().find(|l| l.starts_with(&format!("/// | `{name}` |"))).unwrap();
        for modality in [Modality::Image, Modality::Text] {
            let steps = preset(name, modality).unwrap();
            assert_eq!(
                Augmentation::parse(name, modality).unwrap().to_string().trim_start_matches("none"),
                steps
            );
            assert!(row.contains(steps) && !steps.contains("flip"), "{row}");
        }
    }
}

#[test]
fn errors_name_the_item_and_what_is_allowed() {
    let told = |text: &str| image(text).unwrap_err().to_string();
    assert_eq!(told("flipp"), "augmentation `flipp`: there is no such step");
    assert_eq!(told("flip,light"), "augmentation `light`: a preset comes first");
    assert_eq!(told("flip,flip=1"), "augmentation `flip=1`: `flip` stands twice");
    assert_eq!(told("swap"), "augmentation `swap`: this step is for texts, the examples are images");
    assert_eq!(told("rotate=nan"), "augmentation `rotate=nan`: NaN is out of range; allowed: 0 to 180");
    assert_eq!(
        told("randaugment=9"),
        "augmentation `randaugment=9`: allowed: OPERATIONSxMAGNITUDE, such as 2x9"
    );
    assert_eq!(told("crop=1-0.5"), "augmentation `crop=1-0.5`: 1-0.5 begins above its end");
    assert!(image("crop=0").unwrap_err().hint().unwrap().contains("crop=LOW-HIGH"));
    assert!(serde_json::from_str::<Augmentation>("\"light\"").is_err());
}

/// A picture as a portable pixmap.
fn picture(width: usize, height: usize) -> Input {
    let mut bytes = format!("P6 {width} {height} 255\n").into_bytes();
    bytes.extend((0..3 * width * height).map(|i| (i * i % 251) as u8));
    Input::Bytes(Arc::from(bytes))
}

#[test]
fn a_view_depends_on_its_seed_alone() {
    let spec = ImagePreprocess::imagenet(16, Resize::ShorterThenCrop { shorter_px: 18 }, Filter::Bicubic);
    let preparer = Preparer::new(&Preprocess::Image(spec), None).unwrap();
    let input = picture(40, 30);
    let plain = preparer.prepare(&input).unwrap();
    assert_eq!(preparer.prepare_view(&input, &Augmentation::none(), 3).unwrap(), plain);
    let strong = image("strong,flip,jitter=0.4/0.4/0.4/0.1").unwrap();
    let view = |number| preparer.prepare_view(&input, &strong, view_seed(&[1; 32], number, 9)).unwrap();
    let alone: Vec<Prepared> = (0..8).map(view).collect();
    let threads: Vec<_> =
        (0..8).rev().map(|number| std::thread::scope(|s| s.spawn(|| view(number)).join().unwrap())).collect();
    assert!(threads.iter().rev().eq(&alone));
    for (i, a) in alone.iter().enumerate() {
        assert!(*a != plain && alone[i + 1..].iter().all(|b| a != b), "views must differ");
    }
    let texts = Augmentation::parse("swap", Modality::Text).unwrap();
    assert!(preparer.prepare_view(&input, &texts, 0).is_err());
}

#[test]
fn a_crop_shows_a_part_and_a_flip_mirrors() {
    // A ramp from left to right: a window's values stay within it, and a flip turns the ramp round.
    let spec = ImagePreprocess::imagenet(8, Resize::Squash, Filter::Bilinear);
    let preparer = Preparer::new(&Preprocess::Image(spec), None).unwrap();
    let mut bytes = b"P5 64 64 255\n".to_vec();
    bytes.extend((0..64 * 64).map(|i| (i % 64) as u8 * 4));
    let input = Input::Bytes(Arc::from(bytes));
    let row = |text: &str, seed| match preparer.prepare_view(&input, &image(text).unwrap(), seed).unwrap() {
        Prepared::Image(values) => values[..8].to_vec(),
        Prepared::Tokens(_) => panic!("tokens from a picture"),
    };
    let plain = row("none", 0);
    let mut mirrored = row("flip=1", 0);
    mirrored.reverse();
    assert_eq!(plain, mirrored);
    let mut starts = Vec::new();
    for seed in 0..50 {
        let part = row("crop=0.1-0.3", seed);
        assert!(part.is_sorted() && part[7] - part[0] < 0.7 * (plain[7] - plain[0]), "{part:?}");
        starts.push(part[0]);
    }
    let spread =
        starts.iter().fold(f32::MIN, |a, b| a.max(*b)) - starts.iter().fold(f32::MAX, |a, b| a.min(*b));
    assert!(spread > 0.3 * (plain[7] - plain[0]), "{spread}");
}
