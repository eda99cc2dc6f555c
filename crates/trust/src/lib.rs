//! Intervals and verdicts: is the number believable?.
