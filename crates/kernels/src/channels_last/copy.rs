//! Into an arena and out of it: images with channels last from and to images with channels first.

use super::view::View;

/// Writes images `x [n, channels, height, width]` to `to`.  The margin stays as it is.
pub fn import(x: &[f32], arena: &mut [f32], n: usize, to: &View) {
    to.check(arena.len(), n);
    let (plane, w) = (to.pixels(), to.size[1]);
    assert_eq!(x.len(), n * to.channels * plane, "elements of {n} images");
    for (image, x) in x.chunks_exact(to.channels * plane).enumerate() {
        for y in 0..to.size[0] {
            let start = to.at(n, image, y, 0);
            let row = &mut arena[start..start + (w - 1) * to.pixel + to.channels];
            for (c, plane) in x.chunks_exact(plane).enumerate() {
                let from = &plane[y * w..][..w];
                row[c..].iter_mut().step_by(to.pixel).zip(from).for_each(|(to, &v)| *to = v);
            }
        }
    }
}

/// Appends images at `from` to `values`, `[n, channels, height, width]`.
pub fn export(arena: &[f32], n: usize, from: &View, values: &mut Vec<f32>) {
    from.check(arena.len(), n);
    for image in 0..n {
        for c in 0..from.channels {
            for y in 0..from.size[0] {
                let row = &arena[from.at(n, image, y, 0) + c..];
                values.extend(row.iter().step_by(from.pixel).take(from.size[1]));
            }
        }
    }
}

/// Copies the one image at `from` in an arena of its own to image `image` of `n` in another.
pub fn transfer(one: &[f32], from: &View, arena: &mut [f32], n: usize, image: usize, to: &View) {
    from.check(one.len(), 1);
    to.check(arena.len(), n);
    assert!(image < n, "image {image} of {n}");
    assert_eq!((from.size, from.channels), (to.size, to.channels), "shapes");
    let (runs, len) = if from.runs().0 == 1 { to.runs() } else { from.runs() };
    for y in 0..from.size[0] {
        for x in 0..runs {
            let (a, b) = (from.at(1, 0, y, x), to.at(n, image, y, x));
            arena[b..b + len].copy_from_slice(&one[a..a + len]);
        }
    }
}

/// Makes the margin of `n` images 0; `view` holds all channels of its storage.
pub fn clear_margin(arena: &mut [f32], n: usize, view: &View) {
    view.check(arena.len(), n);
    assert_eq!(view.pixel, view.channels, "channels that lie apart have no margin of their own");
    let ([h, w], [top, left, bottom, right]) = (view.size, view.margin);
    if view.margin == [0; 4] {
        return;
    }
    for image in 0..n {
        let first = view.at(n, image, 0, 0);
        let corner = first - top * view.row - left * view.pixel;
        // From the corner to the first pixel, from the end of each row to the next one's pixels, and the rest.
        arena[corner..first].fill(0.0);
        for y in 0..h {
            let end = first + y * view.row + w * view.pixel;
            let gap = if y + 1 < h { left + right } else { right };
            arena[end..end + gap * view.pixel].fill(0.0);
        }
        let end = first + (h - 1) * view.row + (w + right) * view.pixel;
        arena[end..corner + (top + h + bottom) * view.row].fill(0.0);
    }
}
