//! Every operation against torchvision's on one picture (`tests/make_augment.py` made the fixture).

use std::collections::BTreeMap;
use std::path::Path;

use headstart_graph::Filter;
use serde_json::Value;

use super::randaugment::Operation;
use super::*;
use crate::image::resize::resize;

/// torchvision's names, in the order of [`Operation::ALL`].
const NAMES: [&str; 14] = [
    "Identity",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
    "Posterize",
    "Solarize",
    "AutoContrast",
    "Equalize",
];

struct Fixture {
    json: Value,
    bytes: Vec<u8>,
}

impl Fixture {
    fn read() -> Self {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/augment");
        let json = serde_json::from_slice(&std::fs::read(dir.join("cases.json")).unwrap()).unwrap();
        Fixture { json, bytes: std::fs::read(dir.join("expected.bin")).unwrap() }
    }

    fn picture(&self, at: usize, size: &Value) -> Rgb {
        let side = |i: usize| size[i].as_u64().unwrap() as usize;
        let (height, width) = (side(0), side(1));
        Rgb { width, height, values: self.bytes[at..at + 3 * width * height].to_vec() }
    }
}

fn ours(case: &Value, picture: &Rgb, fill: [u8; 3]) -> Rgb {
    let (op, value) = (case["op"].as_str().unwrap(), case["value"].as_f64().unwrap());
    let mut result = picture.clone();
    match op {
        "flip" => flip::mirror(&mut result),
        "rotate" => {
            let matrix = affine::rotation(value, picture.width, picture.height);
            result = affine::warp(picture, &matrix, fill);
        }
        "brightness" => colour::brightness(&mut result, value),
        "contrast" => colour::contrast(&mut result, value),
        "saturation" => colour::saturation(&mut result, value),
        "hue" => colour::hue(&mut result, value),
        "sharpness" => sharpness::sharpness(&mut result, value),
        "crop" => {
            let side = |v: &Value| v.as_u64().unwrap() as usize;
            let w = &case["window"];
            let (top, left, height, width) = (side(&w[0]), side(&w[1]), side(&w[2]), side(&w[3]));
            let part = crop::cut(picture, Window { left, top, width, height });
            let size = &case["size"];
            result = resize(&part, side(&size[1]), side(&size[0]), Filter::Bilinear).unwrap();
        }
        name => {
            let place = NAMES.iter().position(|n| *n == name).unwrap();
            let negative = case["sign"].as_i64() == Some(-1);
            Operation::ALL[place].apply(&mut result, value as u32, negative, fill);
        }
    }
    result
}

#[test]
fn operations_agree_with_torchvision() {
    let fixture = Fixture::read();
    let picture = fixture.picture(0, &fixture.json["size"]);
    let fill = [0, 1, 2].map(|c| fixture.json["fill"][c].as_u64().unwrap() as u8);
    let mut worst: BTreeMap<&str, u8> = BTreeMap::new();
    for case in fixture.json["cases"].as_array().unwrap() {
        let theirs = fixture.picture(case["offset"].as_u64().unwrap() as usize, &case["size"]);
        let ours = ours(case, &picture, fill);
        assert_eq!((ours.width, ours.height), (theirs.width, theirs.height), "{case}");
        let differences = ours.values.iter().zip(&theirs.values).map(|(a, b)| a.abs_diff(*b));
        let entry = worst.entry(case["op"].as_str().unwrap()).or_default();
        *entry = differences.max().unwrap().max(*entry);
    }
    println!("largest difference, levels: {worst:?}");
    assert_eq!(worst.len(), 8 + NAMES.len());
    assert!(worst.values().all(|d| *d <= 1), "{worst:?}");
}

#[test]
fn pictures_of_any_size_survive_every_operation() {
    for (width, height) in [(1, 1), (1, 7), (2, 2), (7, 1), (3, 3)] {
        let picture =
            Rgb { width, height, values: (0..3 * width * height).map(|i| (i * 37) as u8).collect() };
        for operation in Operation::ALL {
            for magnitude in 0..=MAGNITUDE_MAX {
                let mut changed = picture.clone();
                operation.apply(&mut changed, magnitude, magnitude % 2 == 0, [9; 3]);
                assert_eq!(changed.values.len(), picture.values.len(), "{operation:?}");
            }
        }
        for step in ["flip=1", "rotate=180", "jitter=1/1/1/0.5", "randaugment=8x30", "erase=1"] {
            let (key, value) = step.split_once('=').unwrap();
            let mut changed = picture.clone();
            apply(&mut changed, &[ImageStep::parse(key, value).unwrap()], 5, [9; 3]);
            assert_eq!(changed.values.len(), picture.values.len(), "{step}");
        }
    }
}

#[test]
fn a_step_draws_the_same_whatever_stands_beside_it() {
    let picture = Rgb { width: 9, height: 8, values: (0..216).map(|i| i as u8).collect() };
    let step = |text: &str| {
        let (key, value) = text.split_once('=').unwrap();
        ImageStep::parse(key, value).unwrap()
    };
    for seed in 0..20 {
        let mut alone = picture.clone();
        apply(&mut alone, &[step("rotate=30")], seed, [0; 3]);
        let mut beside = picture.clone();
        apply(&mut beside, &[step("flip=0"), step("jitter=0"), step("rotate=30")], seed, [0; 3]);
        assert_eq!(alone, beside);
    }
}
