//! When freed memory goes back to the system.
//!
//! A step of training frees and takes the same hundreds of megabytes again and again, and the system clears every page anew that it
//! gives: that took a tenth to a third of a step.  So nothing goes back while a stage runs.  When another begins, all does, since what
//! the last one freed seldom has the sizes that the next one takes.

use std::ffi::c_long;

use libmimalloc_sys::{mi_collect, mi_option_set, mi_option_t};

/// `mi_option_purge_delay` in mimalloc's table, milliseconds.
const PURGE_DELAY: mi_option_t = 15;
/// Longer than any stage: 24 days.
const NEVER: c_long = i32::MAX as c_long;

/// Keeps what is freed, until [`give_back`].
pub(crate) fn keep() {
    // SAFETY: sets a number in mimalloc's table, before any other thread is there.
    unsafe { mi_option_set(PURGE_DELAY, NEVER) };
}

/// Gives back what was freed.
pub(crate) fn give_back() {
    // SAFETY: may be called on any thread at any time.
    unsafe { mi_collect(true) };
}
