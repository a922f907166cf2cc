//! The aggregator: figures of runs, for reports and lists. Invariant: the figures
//! are the exact fold of the journal up to the sequence that lies beside them, so
//! each event counts once, over any restarts; decisions never read them.

mod actor;
mod costs;
mod figures;
mod fold;
mod report;

#[cfg(test)]
mod tests;

pub use actor::{AggregatorActor, AggregatorArguments, AggregatorMsg};
pub use costs::{Cost, CostLine, CostPage, CostsBy, NotCostsBy};
pub use figures::{PostFigures, RunFigures, StepFigures, StepPhase, Totals};
pub use fold::{Figures, SUPERVISION};
pub use report::{Cursor, PAGE_MAX, Page, PageError, PostReport, Report, Reports, Sums};
