//! Runs a graph on a device, forward and backward, over Burn.
