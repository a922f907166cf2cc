//! What the nodes of a tree inherit: a worker first its own table, then the `child` of its supervisor,
//! then `[default.worker]`. Invariant: a tree that says nothing of this reads as it stands, and whatever
//! is inherited keeps its place in the text.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{DynamicPolicy, SupervisorPolicy, WorkerPolicy};
use crate::document::{Located, Mistakes, inherit, suggestion};

/// The kinds of node that `[default]` may speak of.
const KINDS: [&str; 3] = ["supervisor", "dynamic", "worker"];
/// What a supervisor's children inherit, and what those of a dynamic one are started with.
const CHILD: &str = "child";
/// What may be written as a number alone.
const MAILBOX: &str = "mailbox";

/// The document with every node's table complete, and without the tables that are only inherited from.
pub(crate) fn resolve<'a>(document: Located<'a>, mistakes: &mut Mistakes<'_>) -> Spanned<DeValue<'a>> {
    let Some(mut tree) = document.get_ref().as_table().cloned() else { return document.clone() };
    spell_out(&mut tree);
    let general = Defaults::take(&mut tree, mistakes);
    let mut families: BTreeMap<String, DeTable<'a>> = BTreeMap::new();
    for (_, own) in nodes(&mut tree, "supervisor") {
        let child = own.remove(CHILD).filter(|child| is_sound::<WorkerPolicy>(child, mistakes)).and_then(table);
        *own = inherit(&general.supervisor, own);
        let children = own.get("children").and_then(|children| children.get_ref().as_array());
        let names = children.into_iter().flatten().filter_map(|name| name.get_ref().as_str());
        families.extend(child.iter().flat_map(|child| names.clone().map(|name| (name.to_owned(), child.clone()))));
    }
    for (_, own) in nodes(&mut tree, "dynamic") {
        *own = inherit(&general.dynamic, own);
        match own.get_mut(CHILD).map(Spanned::get_mut) {
            Some(DeValue::Table(child)) => *child = inherit(&general.worker, child),
            // What else it is, its reader says.
            Some(_) => {}
            None => {
                let inherited = DeValue::Table(general.worker.clone());
                own.insert(Spanned::new(document.span(), CHILD.into()), Spanned::new(document.span(), inherited));
            }
        }
    }
    for (name, own) in nodes(&mut tree, "worker") {
        let family = families.remove(name).unwrap_or_default();
        *own = inherit(&inherit(&general.worker, &family), own);
    }
    Spanned::new(document.span(), DeValue::Table(tree))
}

/// Writes every mailbox that is a number alone as the table that it stands for, so that it is joined with
/// others key by key.
fn spell_out(tree: &mut DeTable<'_>) {
    for (kind, nodes) in tree.iter_mut() {
        let DeValue::Table(nodes) = nodes.get_mut() else { continue };
        for (name, node) in nodes.iter_mut() {
            let DeValue::Table(own) = node.get_mut() else { continue };
            let is_worker = [kind, name].iter().any(|word| word.get_ref().as_ref() == "worker");
            let child = own.get_mut(CHILD).map(Spanned::get_mut);
            if let Some(DeValue::Table(child)) = child {
                spell_out_mailbox(child);
            }
            if is_worker {
                spell_out_mailbox(own);
            }
        }
    }
}

fn spell_out_mailbox(worker: &mut DeTable<'_>) {
    let Some(mailbox) = worker.get_mut(MAILBOX) else { return };
    if !matches!(mailbox.get_ref(), DeValue::Integer(_)) {
        return;
    }
    let span = mailbox.span();
    let mut table = DeTable::new();
    table.insert(Spanned::new(span.clone(), "bound".into()), mailbox.clone());
    *mailbox = Spanned::new(span, DeValue::Table(table));
}

/// What `[default.…]` says of each kind of node.
#[derive(Default)]
struct Defaults<'a> {
    supervisor: DeTable<'a>,
    dynamic: DeTable<'a>,
    worker: DeTable<'a>,
}

impl<'a> Defaults<'a> {
    /// Takes them out of the tree. What is wrong with one is told once, and nobody inherits it.
    fn take(tree: &mut DeTable<'a>, mistakes: &mut Mistakes<'_>) -> Self {
        let Some(written) = tree.remove("default") else { return Self::default() };
        let span = written.span();
        let Some(written) = table(written) else {
            mistakes.add(span, "`default` is no table", "write [default.worker]");
            return Self::default();
        };
        let mut read = Self::default();
        for (key, value) in written {
            let sound = match key.get_ref().as_ref() {
                "supervisor" => is_sound::<SupervisorPolicy>(&value, mistakes).then_some(&mut read.supervisor),
                "dynamic" => is_sound::<DynamicPolicy>(&value, mistakes).then_some(&mut read.dynamic),
                "worker" => is_sound::<WorkerPolicy>(&value, mistakes).then_some(&mut read.worker),
                other => {
                    mistakes.add(key.span(), format!("unknown kind of node `{other}`"), suggestion(other, KINDS));
                    None
                }
            };
            if let (Some(place), Some(sound)) = (sound, table(value)) {
                *place = sound;
            }
        }
        read
    }
}

/// Whether it reads as such a node; what is wrong is kept.
fn is_sound<T: DeserializeOwned>(value: &Spanned<DeValue<'_>>, mistakes: &mut Mistakes<'_>) -> bool {
    mistakes.typed::<T>("variant", value).is_some()
}

fn table(value: Spanned<DeValue<'_>>) -> Option<DeTable<'_>> {
    match value.into_inner() {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

/// The nodes of a kind, by name; those that are no tables are left to their reader.
fn nodes<'t, 'a>(tree: &'t mut DeTable<'a>, kind: &str) -> impl Iterator<Item = (&'t str, &'t mut DeTable<'a>)> {
    let kind = tree.get_mut(kind).map(Spanned::get_mut);
    let nodes = kind.and_then(|kind| if let DeValue::Table(nodes) = kind { Some(nodes) } else { None });
    nodes.into_iter().flatten().filter_map(|(name, node)| match node.get_mut() {
        DeValue::Table(own) => Some((name.get_ref().as_ref(), own)),
        _ => None,
    })
}
