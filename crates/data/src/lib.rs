//! Files to examples, splits and batches.
