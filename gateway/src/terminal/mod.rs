//! What a person sees in the terminal. Invariant: what is shown comes from the
//! journal and the tree's pictures; showing it changes nothing.

mod download;
mod lines;
mod report;
mod tree;

pub use download::Downloads;
pub use lines::Painter;
pub use report::report;
pub use tree::{Look, tree};
