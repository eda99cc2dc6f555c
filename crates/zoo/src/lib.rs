//! The well-known architectures as functions that build graphs, and the catalogue of known sources.
