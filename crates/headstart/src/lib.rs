//! Transfer learning end to end: the library.
