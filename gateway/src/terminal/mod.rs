//! What a person sees in the terminal. Invariant: what is shown comes from the
//! journal and the tree's pictures; showing it changes nothing.

mod download;
mod lines;
mod report;

pub use download::Downloads;
pub use lines::{Painter, tree};
pub use report::report;
