//! The well-known architectures as functions that build graphs, and the catalogue of known sources.
//!
//! One family a file.  Parameters carry the names, and stand in the order, of the reference implementation's state
//! dict (torchvision, timm or transformers), so published files load by name.  [`build`] makes a network from its
//! name, [`from_config`] from a `config.json`; [`catalogue()`] lists files with weights.  This crate reads no files,
//! reaches nothing over the network and knows nothing of devices or training.
//!
//! ```
//! use headstart_zoo::{BuildOptions, build};
//! let graph = build("resnet18", &BuildOptions::classes(10))?;
//! assert_eq!(graph.value(graph.output()).shape.to_string(), "[batch, 10]");
//! let trunk = build("resnet18", &BuildOptions::default())?;
//! assert_eq!(trunk.outputs()[0].name, "features");
//! assert_eq!(trunk.value(trunk.output()).shape.to_string(), "[batch, 512]");
//! # Ok::<(), headstart_zoo::ZooError>(())
//! ```

mod activation;
mod adapted;
mod albert;
mod alexnet;
mod architecture;
pub mod bert;
mod catalogue;
mod config;
mod convnext;
mod convnext_config;
mod deberta_v2;
mod densenet;
mod distilbert;
mod efficientnet;
mod efficientnet_timm;
mod electra;
mod error;
mod hub_export;
mod image_head;
mod image_processor;
mod inception;
mod limits;
mod mobile;
mod mobilenet;
mod mpnet;
mod recognise;
mod rename;
mod resnet;
mod roberta;
mod squeezenet;
mod t5;
mod text_head;
mod transformer;
mod vgg;
mod vit;
mod vit_by_name;
mod wav2vec2;
mod whisper;

pub use adapted::{adapted_config, peft_task};
pub use architecture::{Architecture, BuildOptions, architecture, architectures, build};
pub use catalogue::{Catalogue, DatasetEntry, Entry, Modality, Reach, catalogue};
pub use config::{Configured, from_config, model_type_of};
pub use error::ZooError;
pub use hub_export::{HubExport, SentenceStep, hub_export};
pub use image_processor::image_processor;
pub use recognise::{Recognised, recognise};
pub use rename::{Rename, build_for_keras, is_bookkeeping, name_in_graph};
