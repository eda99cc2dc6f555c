//! Recipes of transfer learning: from card, task and data summary to a plan.
