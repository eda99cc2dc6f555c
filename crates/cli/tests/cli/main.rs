//! The command line on small data and random networks: the whole way, and every wrong turn.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod end_to_end;
mod fine_tuning;
mod fixtures;
mod model_files;
mod tasks;
mod wrong_input;
