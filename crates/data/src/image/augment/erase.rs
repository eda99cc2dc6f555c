//! Random erasing (Zhong et al., 2020): a rectangle of random size, aspect and place is filled with random values, which the
//! paper found the best filling.
//!
//! It is done on the eight-bit picture just before normalising, where a random value is a random byte.

use headstart_core::Rng;

use super::crop::between;
use crate::image::Rgb;

/// Share of the picture that is erased.
const AREA: [f64; 2] = [0.02, 0.33];
/// Height over width of the rectangle.
const ASPECT: [f64; 2] = [0.3, 1.0 / 0.3];
/// Rectangles drawn before the picture is left as it is.
const N_DRAWS_MAX: usize = 10;

/// Erases with this probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RandomErasing {
    pub(crate) probability: f64,
}

impl RandomErasing {
    pub(crate) fn apply(self, picture: &mut Rgb, rng: &mut Rng) {
        if rng.uniform() >= self.probability {
            return;
        }
        let (width, height) = (picture.width, picture.height);
        for _ in 0..N_DRAWS_MAX {
            let area = (width * height) as f64 * between(AREA, rng);
            let aspect = between(ASPECT.map(f64::ln), rng).exp();
            let h = (area * aspect).sqrt().round_ties_even() as usize;
            let w = (area / aspect).sqrt().round_ties_even() as usize;
            if w < width && h < height {
                let (top, left) = (rng.below(height - h + 1), rng.below(width - w + 1));
                for row in picture.values.chunks_exact_mut(3 * width).skip(top).take(h) {
                    row[3 * left..3 * (left + w)].fill_with(|| (rng.next_u64() >> 56) as u8);
                }
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erases_one_rectangle_of_a_size_within_bounds() {
        let (mut n_erased, mut area_sum) = (0, 0.0);
        for seed in 0..400 {
            let mut picture = Rgb { width: 40, height: 30, values: vec![7; 3600] };
            RandomErasing { probability: 0.5 }.apply(&mut picture, &mut Rng::stream(3, seed));
            let (pixels, _) = picture.values.as_chunks::<3>();
            let hit: Vec<(usize, usize)> =
                (0..1200).filter(|i| pixels[*i] != [7; 3]).map(|i| (i % 40, i / 40)).collect();
            if hit.is_empty() {
                continue;
            }
            let side = |of: fn(&(usize, usize)) -> usize| {
                hit.iter().map(of).max().unwrap() - hit.iter().map(of).min().unwrap() + 1
            };
            assert_eq!(side(|p| p.0) * side(|p| p.1), hit.len(), "a full rectangle");
            let share = hit.len() as f64 / 1200.0;
            assert!((0.015..0.36).contains(&share), "{share}");
            n_erased += 1;
            area_sum += share;
        }
        assert!((170..230).contains(&n_erased), "{n_erased}");
        let mean = area_sum / f64::from(n_erased);
        assert!((0.14..0.2).contains(&mean), "{mean}");
    }
}
