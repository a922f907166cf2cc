//! Laws of the journal as a whole.
