//! The pipeline against hand-made pictures.

use headstart_graph::Filter;

use super::*;

fn picture(width: usize, height: usize) -> Rgb {
    Rgb { width, height, values: (0..width * height * 3).map(|i| (i / 3) as u8).collect() }
}

#[test]
fn the_longer_side_is_truncated() {
    assert_eq!(shorter_to(500, 375, 256), (341, 256));
    assert_eq!(shorter_to(375, 500, 256), (256, 341));
    assert_eq!(shorter_to(300, 300, 224), (224, 224));
}

#[test]
fn crops_round_halves_to_even_and_pad_with_black() {
    // (4 − 1) / 2 = 1.5 → 2, (3 − 2) / 2 = 0.5 → 0.
    let cropped = crop_centre(&picture(4, 3), 1, 2);
    assert_eq!(cropped.values, [2, 2, 2, 6, 6, 6]);
    let padded = crop_centre(&picture(2, 1), 4, 1);
    assert_eq!(padded.values, [0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0]);
}

#[test]
fn normalised_by_channel_in_planes() {
    let mut spec = ImagePreprocess::imagenet(1, Resize::Squash, Filter::Bilinear);
    spec.mean = [0.0, 0.5, 1.0];
    spec.std = [1.0, 0.5, 0.25];
    let pipeline = ImagePipeline::new(&spec).unwrap();
    let input = Input::Bytes(b"P6 1 1 255\n\xFF\xFF\x00".as_slice().into());
    assert_eq!(pipeline.prepare(&input).unwrap(), [1.0, 1.0, -4.0]);
}

#[test]
fn another_size_keeps_the_proportion() {
    let spec = ImagePreprocess::imagenet(224, Resize::ShorterThenCrop { shorter_px: 256 }, Filter::Bilinear);
    let small = ImagePipeline::new(&spec).unwrap().with_size(56);
    assert_eq!(small.size_px(), [56, 56]);
    assert_eq!(small.spec.resize, Resize::ShorterThenCrop { shorter_px: 64 });
}
