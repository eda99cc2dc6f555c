//! Which row of a table attention reads for two tokens so far apart.

/// The bucket of `key − query` position among `buckets` (Raffel et al., 2020, section 2.1), rounded in f32 as the
/// reference does.  From `distance_max` on it is the last one.
///
/// ```
/// use headstart_graph::relative_position_bucket;
/// assert_eq!(relative_position_bucket(-3, 32, 128, true), 3);
/// assert_eq!(relative_position_bucket(3, 32, 128, true), 16 + 3);
/// assert_eq!(relative_position_bucket(1_000, 32, 128, true), 31);
/// ```
pub fn relative_position_bucket(
    distance: i64,
    buckets: usize,
    distance_max: usize,
    bidirectional: bool,
) -> i64 {
    let (n, base, distance) = if bidirectional {
        let n = buckets as i64 / 2;
        (n, if distance > 0 { n } else { 0 }, distance.abs())
    } else {
        (buckets as i64, 0, (-distance).max(0))
    };
    let exact = n / 2;
    if distance < exact {
        return base + distance;
    }
    let octaves = (distance as f32 / exact as f32).ln() / (distance_max as f64 / exact as f64).ln() as f32;
    base + (exact + (octaves * (n - exact) as f32) as i64).min(n - 1)
}

/// Which of the `2·span` rows a distance `i − j` reads in disentangled attention (He et al., 2021), rounded in f32 as
/// the reference does.
///
/// ```
/// use headstart_graph::disentangled_row;
/// assert_eq!(disentangled_row(0, 256, 512, true), 256);
/// assert_eq!(disentangled_row(-511, 256, 512, true), 1);
/// ```
pub fn disentangled_row(distance: i64, span: usize, distance_max: usize, log_buckets: bool) -> i64 {
    let span = span as i64;
    let mid = span / 2;
    let kept = if log_buckets && distance.abs() > mid {
        let far = (distance.abs() as f32 / mid as f32).ln() / ((distance_max - 1) as f32 / mid as f32).ln();
        ((far * (mid - 1) as f32).ceil() as i64 + mid) * distance.signum()
    } else {
        distance
    };
    (kept + span).clamp(0, 2 * span - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `_relative_position_bucket` of transformers' T5, 32 buckets, 128 positions.
    #[test]
    fn buckets_are_the_references() {
        let distances =
            [-200, -128, -91, -64, -32, -16, -12, -9, -8, -7, -1, 0, 1, 7, 8, 11, 16, 23, 32, 64, 127, 300];
        let both = distances.map(|d| relative_position_bucket(d, 32, 128, true));
        assert_eq!(both, [15, 15, 15, 14, 12, 10, 9, 8, 8, 7, 1, 0, 17, 23, 24, 24, 26, 27, 28, 30, 31, 31]);
        let one_way = distances.map(|d| relative_position_bucket(d, 32, 128, false));
        assert_eq!(one_way, [31, 31, 29, 26, 21, 16, 12, 9, 8, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let every: i64 =
            (-600..=600).zip(1..).map(|(d, i)| relative_position_bucket(d, 32, 128, true) * i).sum();
        assert_eq!(every, 19_105_790);
    }

    /// `make_log_bucket_position` of transformers' DeBERTa-v2, 256 buckets, 512 positions, clipped.
    #[test]
    fn disentangled_rows_are_the_references() {
        let distances =
            [-511, -300, -256, -200, -129, -128, -127, -1, 0, 1, 128, 129, 140, 200, 256, 400, 511];
        let rows = distances.map(|d| disentangled_row(d, 256, 512, true));
        assert_eq!(rows, [1, 49, 64, 87, 127, 128, 129, 255, 256, 257, 384, 385, 393, 425, 448, 489, 511]);
        let every: i64 = (-600..=600).zip(1..).map(|(d, i)| disentangled_row(d, 256, 512, true) * i).sum();
        assert_eq!(every, 264_928_317);
        assert_eq!(disentangled_row(-3, 4, 9, false), 1);
        assert_eq!(disentangled_row(9, 4, 9, false), 7);
    }
}
