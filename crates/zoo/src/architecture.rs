//! The registry: every architecture by name, and the options it is built with.

use headstart_graph::{
    Filter, Graph, GraphBuilder, GraphError, ImagePreprocess, Preprocess, Resize, ValueId, rewrite,
};

use crate::error::nearest;
use crate::{
    ZooError, alexnet, bert, convnext, densenet, efficientnet, efficientnet_timm, inception, mobilenet,
    resnet, squeezenet, vgg, vit_by_name,
};

/// A network that can be built by name.
#[derive(Debug, Clone)]
pub struct Architecture {
    /// Torchvision's name; `timm/<name>` where timm calls the parameters differently; our own for BERT's sizes.
    pub name: &'static str,
    /// The file of this crate that builds it.
    pub family: &'static str,
    /// Height and width of the images it was designed for, pixels; `None` for texts.
    pub size_px: Option<usize>,
    /// Authors, year, title.
    pub paper: &'static str,
    /// How inputs are prepared for the weights that its reference publishes; a catalogue entry may differ.
    pub preprocess: Preprocess,
    /// Builds it.  [`build`] checks the options first.
    pub build: fn(&BuildOptions) -> Result<Graph, GraphError>,
}

/// What a caller chooses about a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BuildOptions {
    /// Width of the classifier, output `logits [batch, classes]`; `None` leaves it out, output
    /// `features [batch, width]`.
    pub n_classes: Option<usize>,
    /// Height and width of the images, pixels; the architecture's own where it is `None`.
    pub image_size_px: Option<usize>,
}

impl BuildOptions {
    /// A classifier of so many classes.
    pub fn classes(n_classes: usize) -> Self {
        BuildOptions { n_classes: Some(n_classes), image_size_px: None }
    }

    /// Images of another size.
    pub fn size_px(mut self, size_px: usize) -> Self {
        self.image_size_px = Some(size_px);
        self
    }

    /// The classifier's width; a trunk is built with one of 1, which [`BuildOptions::finish`] cuts off.
    pub(crate) fn n_logits(&self) -> usize {
        self.n_classes.unwrap_or(1)
    }

    /// A builder with its input `image [batch, 3, size, size]`.
    pub(crate) fn start(&self, name: &str, size_px: usize) -> (GraphBuilder, ValueId) {
        let size = self.image_size_px.unwrap_or(size_px);
        let mut b = GraphBuilder::new(name);
        let x = b.image("image", [3, size, size]);
        (b, x)
    }

    /// The graph up to `logits`, or up to the classifier's input where no classes are asked for.
    pub(crate) fn finish(&self, b: GraphBuilder, logits: ValueId) -> Result<Graph, GraphError> {
        let graph = b.finish([("logits", logits)])?;
        if self.n_classes.is_some() {
            return Ok(graph);
        }
        rewrite::cut(&graph, rewrite::tap(&graph)?)
    }
}

/// Every architecture, family by family.
pub fn architectures() -> impl Iterator<Item = &'static Architecture> {
    [
        alexnet::ARCHITECTURES,
        vgg::ARCHITECTURES,
        resnet::ARCHITECTURES,
        inception::ARCHITECTURES,
        squeezenet::ARCHITECTURES,
        mobilenet::ARCHITECTURES,
        efficientnet::ARCHITECTURES,
        efficientnet_timm::ARCHITECTURES,
        densenet::ARCHITECTURES,
        convnext::ARCHITECTURES,
        vit_by_name::ARCHITECTURES,
        bert::ARCHITECTURES,
    ]
    .into_iter()
    .flatten()
}

/// Looks an architecture up.  `timm/` may be left out where torchvision has nothing of that name.
pub fn architecture(name: &str) -> Result<&'static Architecture, ZooError> {
    let called = |n: &str| architectures().find(|a| a.name == n);
    called(name).or_else(|| called(&format!("timm/{name}"))).ok_or_else(|| ZooError::UnknownArchitecture {
        name: name.into(),
        nearest: nearest(name, architectures().map(|a| a.name)),
    })
}

/// Builds an architecture by name.
///
/// ```
/// use headstart_zoo::{BuildOptions, build};
/// let e = build("resnet51", &BuildOptions::classes(2)).expect_err("there is none");
/// assert!(e.to_string().contains("resnet50"));
/// ```
pub fn build(name: &str, options: &BuildOptions) -> Result<Graph, ZooError> {
    let found = architecture(name)?;
    for (option, value) in [("n_classes", options.n_classes), ("image_size_px", options.image_size_px)] {
        if value == Some(0) {
            return Err(ZooError::Zero { option });
        }
    }
    if found.size_px.is_none() && options.image_size_px.is_some() {
        return Err(ZooError::NoImageSize { name: name.into() });
    }
    Ok((found.build)(options)?)
}

/// The shorter side to `shorter_px`, the middle cut out, ImageNet's normalisation.
pub(crate) const fn imagenet(size_px: usize, shorter_px: usize, filter: Filter) -> Preprocess {
    let (mean, std) = (ImagePreprocess::IMAGENET_MEAN, ImagePreprocess::IMAGENET_STD);
    centre_crop(size_px, shorter_px, filter, mean, std)
}

/// The same with channels scaled to −1…1, as Inception and TensorFlow's networks want them.
pub(crate) const fn minus_one_to_one(size_px: usize, shorter_px: usize, filter: Filter) -> Preprocess {
    centre_crop(size_px, shorter_px, filter, [0.5; 3], [0.5; 3])
}

const fn centre_crop(
    size_px: usize,
    shorter_px: usize,
    filter: Filter,
    mean: [f32; 3],
    std: [f32; 3],
) -> Preprocess {
    let resize = Resize::ShorterThenCrop { shorter_px };
    Preprocess::Image(ImagePreprocess { size_px: [size_px; 2], resize, filter, mean, std })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timm_may_be_left_out_where_it_is_clear() {
        assert_eq!(architecture("tf_efficientnet_lite0").map(|a| a.name), Ok("timm/tf_efficientnet_lite0"));
        assert_eq!(architecture("efficientnet_b0").map(|a| a.family), Ok("efficientnet"));
        assert_eq!(architecture("timm/efficientnet_b0").map(|a| a.family), Ok("efficientnet_timm"));
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = architectures().map(|a| a.name).collect();
        names.sort_unstable();
        let n = names.len();
        names.dedup();
        assert_eq!(names.len(), n);
    }

    #[test]
    fn impossible_options_are_errors() {
        assert_eq!(build("alexnet", &BuildOptions::classes(0)), Err(ZooError::Zero { option: "n_classes" }));
        let small = build("alexnet", &BuildOptions::classes(2).size_px(16));
        assert!(matches!(small, Err(ZooError::Graph(GraphError::ShapeMismatch { .. }))), "{small:?}");
        assert!(matches!(
            build("bert-tiny", &BuildOptions::classes(2).size_px(64)),
            Err(ZooError::NoImageSize { .. })
        ));
    }
}
