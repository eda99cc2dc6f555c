//! Memory that is used for a moment and kept for the next time: fresh pages are cleared by the system, which takes as long as
//! computing what is written into them.

use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

use crate::Floats;

/// Buffers that nobody uses.
static FREE: Mutex<Vec<Floats>> = Mutex::new(Vec::new());
/// How many are kept.
const KEPT: usize = 3;

/// A buffer that may hold anything.
pub(super) struct Scratch {
    floats: Floats,
    len: usize,
}

impl Scratch {
    pub(super) fn new(len: usize) -> Self {
        let mut free = FREE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let fits = free.iter().enumerate().filter(|(_, f)| f.len() >= len).min_by_key(|(_, f)| f.len());
        // Where none fits, one that is too small makes room.
        let found = fits.map(|(i, _)| i).or_else(|| (!free.is_empty()).then_some(0));
        let floats = found.map(|i| free.swap_remove(i)).filter(|f| f.len() >= len);
        drop(free);
        Scratch { floats: floats.unwrap_or_else(|| Floats::zeros(len)), len }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut free = FREE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        free.push(std::mem::take(&mut self.floats));
        if free.len() > KEPT {
            let smallest = free.iter().enumerate().min_by_key(|(_, f)| f.len()).map_or(0, |(i, _)| i);
            free.swap_remove(smallest);
        }
    }
}

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.floats[..self.len]
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.floats[..self.len]
    }
}
