//! Keys that workers had once. Invariant: one that is still written is told with the file that has its
//! place now, and nobody inherits it.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::document::{Located, Mistakes};

/// What an agent or a run may spend is in budget.toml, which the ledger decides by.
const BUDGET: &str = "budget";

/// The document without them.
pub(super) fn without<'a>(document: Located<'a>, mistakes: &mut Mistakes<'_>) -> Spanned<DeValue<'a>> {
    let Some(mut tree) = document.get_ref().as_table().cloned() else { return document.clone() };
    let all = "each agent with `agent = \"$10.00\"`, or one under [agents]".to_owned();
    for (name, worker) in tables(tree.get_mut("worker")) {
        take(worker, &format!("under [agents], as `{name} = \"$10.00\"`"), mistakes);
    }
    for (_, general) in tables(tree.get_mut("default")) {
        take(general, &all, mistakes);
    }
    for kind in ["supervisor", "dynamic"] {
        for (_, node) in tables(tree.get_mut(kind)) {
            let Some(DeValue::Table(child)) = node.get_mut("child").map(Spanned::get_mut) else { continue };
            let place = if kind == "dynamic" { "each run with `run = \"$2.00\"`" } else { all.as_str() };
            take(child, place, mistakes);
        }
    }
    Spanned::new(document.span(), DeValue::Table(tree))
}

/// Takes it out of a worker's table, and says where it belongs.
fn take(worker: &mut DeTable<'_>, place: &str, mistakes: &mut Mistakes<'_>) {
    let at = worker.get_key_value(BUDGET).map(|(key, _)| key.span());
    if let Some(at) = at {
        worker.remove(BUDGET);
        let message = "the tree limits no spending, so this `budget` would hold nobody";
        mistakes.add(at, message, format!("take it out, and limit in budget.toml {place}"));
    }
}

fn tables<'t, 'a>(of: Option<&'t mut Spanned<DeValue<'a>>>) -> impl Iterator<Item = (&'t str, &'t mut DeTable<'a>)> {
    let tables = of.and_then(|of| if let DeValue::Table(tables) = of.get_mut() { Some(tables) } else { None });
    tables.into_iter().flatten().filter_map(|(name, value)| match value.get_mut() {
        DeValue::Table(own) => Some((name.get_ref().as_ref(), own)),
        _ => None,
    })
}
