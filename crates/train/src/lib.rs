//! Fits heads and networks.
