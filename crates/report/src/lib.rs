//! Run and bundle to one HTML page that a person wants to read.
