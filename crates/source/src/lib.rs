//! Fetches, verifies and caches published models and data.
