//! Guards: terms beside the loss that keep a network near what its source knows, one a file.  They combine freely.

mod bss;
mod co_tuning;
mod delta;
mod distillation;
mod l2_sp;

use headstart_core::{Array, Batch, Regulariser, TargetRows};
use headstart_engine::{EngineTensor, Gradients, LossInput, Network};

use super::TuneError;
pub use co_tuning::relation;

/// Where the network in training puts out what guards look at: positions among its outputs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outputs {
    /// The feature vectors `[batch, width]`.
    pub features: Option<usize>,
    /// Feature maps of the network's stages.
    pub maps: Vec<usize>,
    /// What the source's old head says, `[batch, source classes]`.
    pub source_logits: Option<usize>,
}

/// All guards of a training.
#[derive(Debug, Default)]
pub struct Guards {
    chosen: Vec<Regulariser>,
    outputs: Outputs,
    anchor: Option<headstart_engine::Anchor>,
    /// The source itself, for guards that compare with it.
    teacher: Option<Network>,
    /// For Co-Tuning: what the source says of each class, `[n_classes, source classes]`.
    relation: Option<TargetRows>,
}

/// What a step's guards compare with.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    source: Vec<Array>,
    related: Option<TargetRows>,
}

impl Guards {
    /// Guards for a network whose parameters are still the source's.
    ///
    /// # Errors
    /// [`TuneError::Guard`] if one lacks an output or the relation.
    pub fn new(
        chosen: &[Regulariser],
        outputs: Outputs,
        network: &Network,
        relation: Option<TargetRows>,
    ) -> Result<Self, TuneError> {
        let lacks = |guard, what| Err(TuneError::Guard { guard, what });
        let (mut anchor, mut needs_teacher) = (None, false);
        for guard in chosen {
            match guard {
                Regulariser::L2Sp { .. } => anchor = Some(network.anchor(&l2_sp::is_pulled)),
                Regulariser::Bss { .. } if outputs.features.is_none() => {
                    return lacks("bss", "a feature vector");
                }
                Regulariser::Bss { .. } => {}
                Regulariser::Distillation { .. } if outputs.features.is_none() => {
                    return lacks("distillation", "a feature vector");
                }
                Regulariser::Delta { .. } if outputs.maps.is_empty() => {
                    return lacks("delta", "feature maps before the parameters that stay frozen");
                }
                Regulariser::Distillation { .. } | Regulariser::Delta { .. } => needs_teacher = true,
                Regulariser::CoTuning { .. } if outputs.source_logits.is_none() || relation.is_none() => {
                    return lacks("co_tuning", "a source with a classifier, and a task of classes");
                }
                Regulariser::CoTuning { .. } => {}
            }
        }
        let teacher = needs_teacher
            .then(|| Network::load(network.graph().clone(), &network.weights()?, network.device()))
            .transpose()?;
        Ok(Guards { chosen: chosen.to_vec(), outputs, anchor, teacher, relation })
    }

    /// What the source says of a batch.
    pub(super) fn prepare(&self, batch: &Batch, targets: &TargetRows) -> Result<Prepared, TuneError> {
        let source = self.teacher.as_ref().map(|t| t.infer_all(batch)).transpose()?.unwrap_or_default();
        let related = self.relation.as_ref().map(|r| co_tuning::rows(r, targets));
        Ok(Prepared { source, related })
    }

    /// The loss with what the guards on outputs add.
    pub(super) fn add(&self, loss: EngineTensor, made: &LossInput<'_>, with: &Prepared) -> EngineTensor {
        self.chosen.iter().fold(loss, |loss, guard| match guard {
            Regulariser::L2Sp { .. } => loss,
            Regulariser::Bss { strength, k } => {
                let features = made.outputs[self.outputs.features.expect("checked by new")].clone();
                bss::add(loss, features, *strength, *k, made.device)
            }
            Regulariser::Distillation { strength } => {
                let at = self.outputs.features.expect("checked by new");
                distillation::add(loss, made.outputs[at].clone(), &with.source[at], *strength, made.device)
            }
            Regulariser::Delta { strength } => self.outputs.maps.iter().fold(loss, |loss, &at| {
                delta::add(loss, made.outputs[at].clone(), &with.source[at], *strength, made.device)
            }),
            Regulariser::CoTuning { strength } => {
                let logits = made.outputs[self.outputs.source_logits.expect("checked by new")].clone();
                let rows = with.related.as_ref().expect("checked by new");
                co_tuning::add(loss, logits, rows, *strength, made.device)
            }
        })
    }

    /// What the guards on weights add to the gradients; their penalty.
    pub(super) fn pull(&self, network: &Network, gradients: &mut Gradients) -> Result<f64, TuneError> {
        let Some(anchor) = &self.anchor else { return Ok(0.0) };
        let strength = self.chosen.iter().find_map(|g| match g {
            Regulariser::L2Sp { strength } => Some(*strength),
            _ => None,
        });
        Ok(gradients.pull_towards(network, anchor, strength.unwrap_or(0.0))?)
    }
}

#[cfg(test)]
mod tests;
