//! The order of the rooms: a room uses only rooms to its left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Left to right. A crate inside a room's folder belongs to that room.
const ROOMS: [&str; 8] = ["policies", "storage", "actors", "supervisor", "agents", "gateway", "chaos", "tests"];

/// Kinds of dependency tables that cargo knows.
const TABLES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn manifest(path: &Path) -> toml::Table {
    let text = std::fs::read_to_string(path).unwrap();
    text.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Package name → (room's place, manifest), for every member of the workspace.
fn members() -> BTreeMap<String, (usize, toml::Table)> {
    let workspace = manifest(&root().join("Cargo.toml"));
    let members = workspace["workspace"]["members"].as_array().unwrap().clone();
    members
        .iter()
        .map(|member| {
            let folder = member.as_str().unwrap();
            let room = folder.split('/').next().unwrap();
            let place = ROOMS
                .iter()
                .position(|r| *r == room)
                .unwrap_or_else(|| panic!("{folder}: `{room}` is not one of the rooms {ROOMS:?}"));
            let table = manifest(&root().join(folder).join("Cargo.toml"));
            let name = table["package"]["name"].as_str().unwrap().to_owned();
            (name, (place, table))
        })
        .collect()
}

/// Every dependency table of a manifest, those for one target included.
fn dependency_names(table: &toml::Table) -> Vec<String> {
    let of = |t: &toml::Table| -> Vec<String> {
        TABLES
            .iter()
            .filter_map(|kind| t.get(*kind)?.as_table())
            .flat_map(|deps| {
                deps.iter().map(|(key, value)| {
                    let renamed = value.get("package").and_then(|p| p.as_str());
                    renamed.unwrap_or(key).to_owned()
                })
            })
            .collect()
    };
    let mut names = of(table);
    if let Some(targets) = table.get("target").and_then(|t| t.as_table()) {
        names.extend(targets.values().filter_map(|t| t.as_table()).flat_map(of));
    }
    names
}

/// What breaks the order: "`a` (room x) uses `b` (room y)".
fn breaches(members: &BTreeMap<String, (usize, toml::Table)>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, (place, table)) in members {
        for dependency in dependency_names(table) {
            let Some((other, _)) = members.get(&dependency) else { continue };
            // Inside one room, cargo itself refuses cycles.
            if other > place {
                found.push(format!(
                    "`{name}` (room {}) uses `{dependency}` (room {}), which is to its right",
                    ROOMS[*place], ROOMS[*other]
                ));
            }
        }
    }
    found
}

#[test]
fn a_room_uses_only_rooms_to_its_left() {
    let found = breaches(&members());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_dependency_to_the_right_is_found() {
    let mut members = members();
    let (_, storage) = members.get_mut("storage").unwrap();
    let dependencies = storage["dependencies"].as_table_mut().unwrap();
    dependencies.insert("agents".into(), toml::Value::Table(toml::Table::new()));
    let found = breaches(&members);
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("`storage` (room storage) uses `agents` (room agents)"));
}

#[test]
fn every_room_is_there() {
    let members = members();
    for (place, room) in ROOMS.iter().enumerate() {
        assert!(members.values().any(|(p, _)| *p == place), "room {room} has no crate");
    }
}

/// `unsafe` stays forbidden and the lints stay on only where a crate asks for them.
#[test]
fn every_crate_inherits_the_workspace_lints() {
    for (name, (_, table)) in members() {
        let inherits = table.get("lints").and_then(|l| l.get("workspace")).and_then(|w| w.as_bool());
        assert_eq!(inherits, Some(true), "`{name}` lacks `[lints] workspace = true`");
    }
}
