//! What a person sees in the terminal. Invariant: what is shown comes from the
//! journal and the tree's pictures; showing it changes nothing.

mod costs;
mod download;
mod evaluation;
mod letters;
mod lines;
mod report;
mod screen;
mod table;
mod tree;

pub use costs::costs;
pub use download::Downloads;
pub use evaluation::evaluation;
pub use letters::{fate, letter, letters};
pub use lines::Painter;
pub use report::report;
pub use screen::{Screen, cut};
pub use tree::{CHILDREN_SHOWN, Look, overview, tree};
