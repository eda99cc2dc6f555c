//! Layers of convolutional networks that examples time.

use headstart_kernels::Window;

/// Height and width, channels, filters (0 is depthwise), kernel, stride.
pub(crate) const LAYERS: [[usize; 5]; 19] = [
    [224, 3, 64, 7, 2],
    [56, 64, 64, 3, 1],
    [28, 128, 128, 3, 1],
    [14, 256, 256, 3, 1],
    [7, 512, 512, 3, 1],
    [56, 64, 128, 3, 2],
    [56, 64, 128, 1, 2],
    [56, 64, 256, 1, 1],
    [14, 1024, 256, 1, 1],
    [7, 2048, 512, 1, 1],
    [224, 3, 32, 3, 2],
    [112, 32, 16, 1, 1],
    [112, 16, 96, 1, 1],
    [56, 144, 24, 1, 1],
    [14, 96, 576, 1, 1],
    [7, 320, 1280, 1, 1],
    [112, 96, 0, 3, 2],
    [28, 192, 0, 3, 1],
    [14, 480, 0, 5, 1],
];

/// What a layer's filters slide over, `n` examples.
pub(crate) fn window(n: usize, [side, c, _, k, stride]: [usize; 5]) -> Window {
    let (size, kernel, stride, padding) = ([side; 2], [k; 2], [stride; 2], [k / 2; 4]);
    Window { n, c, size, kernel, stride, dilation: [1; 2], padding }
}
