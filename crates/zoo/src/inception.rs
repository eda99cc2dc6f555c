//! Inception v3 (torchvision's, `transform_input` false).
//!
//! Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, "Rethinking the Inception architecture for computer vision", 2015.
//! `image [batch, 3, 299, 299]` in −1…1 → `[batch, 768, 17, 17]` (the auxiliary head reads here) → `[batch, 2048]` →
//! `logits`.  Outputs: `logits`, then `aux_logits`; without a classifier the auxiliary head is left out as well.
//!
//! The auxiliary head wants at least 299 pixels or so; without a classifier 75 are enough.

use headstart_graph::{Conv, Filter, Graph, GraphBuilder, GraphError, Init, Op, Padding, ValueId};

use crate::architecture::{Architecture, BuildOptions, minus_one_to_one};

pub(crate) const ARCHITECTURES: &[Architecture] = &[Architecture {
    name: "inception_v3",
    family: "inception",
    size_px: Some(299),
    paper: "Szegedy et al. 2015, Rethinking the Inception architecture for computer vision",
    // Torchvision normalises as for ImageNet and converts inside the network; the sum of both is −1…1.
    preprocess: minus_one_to_one(299, 342, Filter::Bilinear),
    build: inception_v3,
}];

fn inception_v3(options: &BuildOptions) -> Result<Graph, GraphError> {
    let (b, x) = options.start("inception_v3", 299);
    let mut n = Net { b };
    let x = n.conv("Conv2d_1a_3x3", x, Conv::new(32, 3).stride(2))?;
    let x = n.conv("Conv2d_2a_3x3", x, Conv::new(32, 3))?;
    let x = n.conv("Conv2d_2b_3x3", x, Conv::new(64, 3).padding(1))?;
    let x = n.b.max_pool("maxpool1", x, [3, 2, 0], false)?;
    let x = n.conv("Conv2d_3b_1x1", x, Conv::new(80, 1))?;
    let x = n.conv("Conv2d_4a_3x3", x, Conv::new(192, 3))?;
    let x = n.b.max_pool("maxpool2", x, [3, 2, 0], false)?;
    let x = n.mixed_a("Mixed_5b", x, 32)?;
    let x = n.mixed_a("Mixed_5c", x, 64)?;
    let x = n.mixed_a("Mixed_5d", x, 64)?;
    let x = n.mixed_b("Mixed_6a", x)?;
    let x = n.mixed_c("Mixed_6b", x, 128)?;
    let x = n.mixed_c("Mixed_6c", x, 160)?;
    let x = n.mixed_c("Mixed_6d", x, 160)?;
    let x = n.mixed_c("Mixed_6e", x, 192)?;
    let aux_logits = options.n_classes.map(|classes| n.aux(x, classes)).transpose()?;
    let x = n.mixed_d("Mixed_7a", x)?;
    let x = n.mixed_e("Mixed_7b", x)?;
    let x = n.mixed_e("Mixed_7c", x)?;
    let x = n.b.global_avg_pool("avgpool", x)?;
    let x = n.b.node("dropout", Op::Dropout { p: 0.5 }, &[x])?;
    let logits = n.linear("fc", x, options.n_logits(), 0.1)?;
    match aux_logits {
        Some(aux_logits) => n.b.finish([("logits", logits), ("aux_logits", aux_logits)]),
        None => options.finish(n.b, logits),
    }
}

/// The builder, and the blocks that the paper's figures 5 to 7 show.
struct Net {
    b: GraphBuilder,
}

impl Net {
    /// Figure 5: 1×1, 5×5, twice 3×3, and pooled, side by side.
    fn mixed_a(&mut self, path: &str, x: ValueId, pooled: usize) -> Result<ValueId, GraphError> {
        let one = self.conv(&format!("{path}.branch1x1"), x, Conv::new(64, 1))?;
        let five = self.conv(&format!("{path}.branch5x5_1"), x, Conv::new(48, 1))?;
        let five = self.conv(&format!("{path}.branch5x5_2"), five, Conv::new(64, 5).padding(2))?;
        let three = self.conv(&format!("{path}.branch3x3dbl_1"), x, Conv::new(64, 1))?;
        let three = self.conv(&format!("{path}.branch3x3dbl_2"), three, Conv::new(96, 3).padding(1))?;
        let three = self.conv(&format!("{path}.branch3x3dbl_3"), three, Conv::new(96, 3).padding(1))?;
        let pool = self.pooled(path, x, pooled)?;
        self.join(path, &[one, five, three, pool])
    }

    /// Halves the image: 35 → 17 pixels.
    fn mixed_b(&mut self, path: &str, x: ValueId) -> Result<ValueId, GraphError> {
        let three = self.conv(&format!("{path}.branch3x3"), x, Conv::new(384, 3).stride(2))?;
        let twice = self.conv(&format!("{path}.branch3x3dbl_1"), x, Conv::new(64, 1))?;
        let twice = self.conv(&format!("{path}.branch3x3dbl_2"), twice, Conv::new(96, 3).padding(1))?;
        let twice = self.conv(&format!("{path}.branch3x3dbl_3"), twice, Conv::new(96, 3).stride(2))?;
        let pool = self.b.max_pool(&format!("{path}.branch_pool"), x, [3, 2, 0], false)?;
        self.join(path, &[three, twice, pool])
    }

    /// Figure 6: 7×7 convolutions as rows and columns.
    fn mixed_c(&mut self, path: &str, x: ValueId, width: usize) -> Result<ValueId, GraphError> {
        let one = self.conv(&format!("{path}.branch1x1"), x, Conv::new(192, 1))?;
        let seven = self.conv(&format!("{path}.branch7x7_1"), x, Conv::new(width, 1))?;
        let seven = self.conv(&format!("{path}.branch7x7_2"), seven, row(width, 7))?;
        let seven = self.conv(&format!("{path}.branch7x7_3"), seven, column(192, 7))?;
        let twice = self.conv(&format!("{path}.branch7x7dbl_1"), x, Conv::new(width, 1))?;
        let twice = self.conv(&format!("{path}.branch7x7dbl_2"), twice, column(width, 7))?;
        let twice = self.conv(&format!("{path}.branch7x7dbl_3"), twice, row(width, 7))?;
        let twice = self.conv(&format!("{path}.branch7x7dbl_4"), twice, column(width, 7))?;
        let twice = self.conv(&format!("{path}.branch7x7dbl_5"), twice, row(192, 7))?;
        let pool = self.pooled(path, x, 192)?;
        self.join(path, &[one, seven, twice, pool])
    }

    /// Halves the image: 17 → 8 pixels.
    fn mixed_d(&mut self, path: &str, x: ValueId) -> Result<ValueId, GraphError> {
        let three = self.conv(&format!("{path}.branch3x3_1"), x, Conv::new(192, 1))?;
        let three = self.conv(&format!("{path}.branch3x3_2"), three, Conv::new(320, 3).stride(2))?;
        let seven = self.conv(&format!("{path}.branch7x7x3_1"), x, Conv::new(192, 1))?;
        let seven = self.conv(&format!("{path}.branch7x7x3_2"), seven, row(192, 7))?;
        let seven = self.conv(&format!("{path}.branch7x7x3_3"), seven, column(192, 7))?;
        let seven = self.conv(&format!("{path}.branch7x7x3_4"), seven, Conv::new(192, 3).stride(2))?;
        let pool = self.b.max_pool(&format!("{path}.branch_pool"), x, [3, 2, 0], false)?;
        self.join(path, &[three, seven, pool])
    }

    /// Figure 7: rows and columns side by side.
    fn mixed_e(&mut self, path: &str, x: ValueId) -> Result<ValueId, GraphError> {
        let one = self.conv(&format!("{path}.branch1x1"), x, Conv::new(320, 1))?;
        let three = self.conv(&format!("{path}.branch3x3_1"), x, Conv::new(384, 1))?;
        let three_row = self.conv(&format!("{path}.branch3x3_2a"), three, row(384, 3))?;
        let three_column = self.conv(&format!("{path}.branch3x3_2b"), three, column(384, 3))?;
        let three = self.join(&format!("{path}.branch3x3"), &[three_row, three_column])?;
        let twice = self.conv(&format!("{path}.branch3x3dbl_1"), x, Conv::new(448, 1))?;
        let twice = self.conv(&format!("{path}.branch3x3dbl_2"), twice, Conv::new(384, 3).padding(1))?;
        let twice_row = self.conv(&format!("{path}.branch3x3dbl_3a"), twice, row(384, 3))?;
        let twice_column = self.conv(&format!("{path}.branch3x3dbl_3b"), twice, column(384, 3))?;
        let twice = self.join(&format!("{path}.branch3x3dbl"), &[twice_row, twice_column])?;
        let pool = self.pooled(path, x, 192)?;
        self.join(path, &[one, three, twice, pool])
    }

    /// The auxiliary classifier: in training its loss is added with a small weight (torchvision's recipe: 0.4).
    fn aux(&mut self, x: ValueId, n_classes: usize) -> Result<ValueId, GraphError> {
        let x = self.avg_pool("AuxLogits.avgpool", x, [5, 3, 0])?;
        let x = self.conv("AuxLogits.conv0", x, Conv::new(128, 1))?;
        // Torchvision notes a spread of 0.01 on this block but applies 0.1: the note sits on the wrong module.
        let x = self.conv("AuxLogits.conv1", x, Conv::new(768, 5))?;
        let x = self.b.global_avg_pool("AuxLogits.pool", x)?;
        self.linear("AuxLogits.fc", x, n_classes, 0.001)
    }

    fn pooled(&mut self, path: &str, x: ValueId, out: usize) -> Result<ValueId, GraphError> {
        let pool = self.avg_pool(&format!("{path}.avgpool"), x, [3, 1, 1])?;
        self.conv(&format!("{path}.branch_pool"), pool, Conv::new(out, 1))
    }

    fn avg_pool(
        &mut self,
        path: &str,
        x: ValueId,
        [kernel, stride, padding]: [usize; 3],
    ) -> Result<ValueId, GraphError> {
        let op = Op::AvgPool2d {
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [padding; 2],
            ceil_mode: false,
            count_include_pad: true,
        };
        self.b.node(path, op, &[x])
    }

    /// Convolution without bias, batch norm, rectifier.  Weights start normal with a spread of 0.1 (cut off at ±2,
    /// twenty spreads away).
    fn conv(&mut self, path: &str, x: ValueId, c: Conv) -> Result<ValueId, GraphError> {
        let x = self.b.conv(&format!("{path}.conv"), x, c.no_bias().init(Init::Normal(0.1)))?;
        let x = self.b.batch_norm(&format!("{path}.bn"), x, 1e-3, 0.1)?;
        self.b.relu(path, x)
    }

    fn linear(&mut self, path: &str, x: ValueId, out: usize, std: f64) -> Result<ValueId, GraphError> {
        let bias = Init::fan_in_uniform(self.b.channels(x));
        self.b.linear_init(path, x, out, Init::Normal(std), bias)
    }

    fn join(&mut self, path: &str, branches: &[ValueId]) -> Result<ValueId, GraphError> {
        self.b.node(path, Op::Concat { axis: 1 }, branches)
    }
}

/// A window one pixel high.
fn row(out: usize, n: usize) -> Conv {
    Conv::rect(out, [1, n]).pad(Padding::symmetric(0, n / 2))
}

/// A window one pixel wide.
fn column(out: usize, n: usize) -> Conv {
    Conv::rect(out, [n, 1]).pad(Padding::symmetric(n / 2, 0))
}
