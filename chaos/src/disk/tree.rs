//! What a disk that loses holds: files and folders, each as it was written and as it is durable.
//!
//! Invariant: after a cut there is what was synced and nothing else: of a file its bytes as of its last sync, and of a
//! folder its names as of its last sync, as far as names lead there from the root. It knows no kernel, no clock and no
//! I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

use storage::disk::sim::content::{Content, Dice};

#[cfg(test)]
mod tests;

/// Files and folders that a disk can hold at most.
pub const NODES_MAX: usize = 65_536;
/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// A file or a folder, whatever its names. A number is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub u64);

/// The folder that all names lead from.
pub const ROOT: NodeId = NodeId(1);

/// Why something was not done. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is nothing of that name.
    #[error("there is no such file or folder")]
    Absent,
    /// There is something of that name.
    #[error("the name is taken")]
    Taken,
    /// A file stands where a folder must.
    #[error("it is not a folder")]
    NotFolder,
    /// A folder stands where a file must.
    #[error("it is a folder")]
    IsFolder,
    /// The folder has names in it.
    #[error("the folder is not empty")]
    NotEmpty,
    /// There is no room, for bytes or for nodes.
    #[error("the disk is full")]
    Full,
    /// The name is too long.
    #[error("the name is longer than {NAME_BYTES_MAX} bytes")]
    LongName,
    /// A folder cannot lie in itself.
    #[error("a folder cannot lie in itself")]
    Cycle,
}

/// What a cut does to that which was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// All of it is gone.
    Clean,
    /// New names are gone; of what was written to a file, the seed decides for each sector.
    Torn {
        /// Decides what is kept.
        seed: u64,
    },
}

/// What a cut has hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Files that had bytes which were not synced.
    pub files: usize,
    /// Names that were not synced, or whose removal was not.
    pub names: usize,
}

type Names = BTreeMap<OsString, NodeId>;

#[derive(Debug, Default)]
struct Folder {
    seen: Names,
    durable: Names,
}

#[derive(Debug)]
enum Body {
    File(Content),
    Folder(Folder),
}

#[derive(Debug)]
struct Node {
    body: Body,
    /// How often somebody outside was told of it; it stays while somebody knows it, name or no name.
    known: u64,
}

/// What a node looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// A file of so many bytes.
    File(u64),
    /// A folder.
    Folder,
}

/// The files and folders of a disk of bounded size.
#[derive(Debug)]
pub struct Tree {
    nodes: BTreeMap<NodeId, Node>,
    next: u64,
    used: u64,
    bytes_max: u64,
}

impl Tree {
    /// An empty disk for so many bytes.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        let root = Node { body: Body::Folder(Folder::default()), known: 1 };
        Self { nodes: BTreeMap::from([(ROOT, root)]), next: ROOT.0 + 1, used: 0, bytes_max }
    }

    /// Bytes that all files hold, and how many they may.
    #[must_use]
    pub fn room(&self) -> (u64, u64) {
        (self.used, self.bytes_max)
    }

    /// What a node looks like.
    pub fn look(&self, node: NodeId) -> Result<Look, Refusal> {
        Ok(match &self.nodes.get(&node).ok_or(Refusal::Absent)?.body {
            Body::File(content) => Look::File(content.bytes().len() as u64),
            Body::Folder(_) => Look::Folder,
        })
    }

    /// What has this name in a folder.
    pub fn find(&self, folder: NodeId, name: &OsStr) -> Result<NodeId, Refusal> {
        self.names(folder)?.get(name).copied().ok_or(Refusal::Absent)
    }

    /// The names in a folder, sorted.
    pub fn list(&self, folder: NodeId) -> Result<impl Iterator<Item = (&OsStr, NodeId)>, Refusal> {
        Ok(self.names(folder)?.iter().map(|(name, node)| (name.as_os_str(), *node)))
    }

    /// Makes an empty file.
    pub fn make_file(&mut self, folder: NodeId, name: &OsStr) -> Result<NodeId, Refusal> {
        self.make(folder, name, Body::File(Content::default()))
    }

    /// Makes an empty folder.
    pub fn make_folder(&mut self, folder: NodeId, name: &OsStr) -> Result<NodeId, Refusal> {
        self.make(folder, name, Body::Folder(Folder::default()))
    }

    /// At most so many bytes of a file, from an offset on.
    pub fn read(&self, file: NodeId, offset: u64, bytes_max: usize) -> Result<&[u8], Refusal> {
        let Body::File(content) = &self.nodes.get(&file).ok_or(Refusal::Absent)?.body else {
            return Err(Refusal::IsFolder);
        };
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = content.bytes().get(from..).unwrap_or_default();
        Ok(&rest[..rest.len().min(bytes_max)])
    }

    /// Writes at an offset; all of it or, when there is no room, nothing.
    pub fn write(&mut self, file: NodeId, offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        let before = self.length(file)?;
        let end = offset.checked_add(bytes.len() as u64).ok_or(Refusal::Full)?;
        let offset = usize::try_from(offset).map_err(|_| Refusal::Full)?;
        self.reserve(end.saturating_sub(before))?;
        self.content(file)?.write(offset, bytes);
        self.used += end.saturating_sub(before);
        Ok(())
    }

    /// Cuts a file to a length, or fills it up with zeros.
    pub fn resize(&mut self, file: NodeId, length: u64) -> Result<(), Refusal> {
        let before = self.length(file)?;
        let size = usize::try_from(length).map_err(|_| Refusal::Full)?;
        self.reserve(length.saturating_sub(before))?;
        self.content(file)?.resize(size);
        self.used = self.used - before + length;
        Ok(())
    }

    /// Makes a file's bytes durable, or a folder's names.
    pub fn sync(&mut self, node: NodeId) -> Result<(), Refusal> {
        match &mut self.nodes.get_mut(&node).ok_or(Refusal::Absent)?.body {
            Body::File(content) => content.sync(),
            Body::Folder(folder) if folder.durable == folder.seen => {}
            Body::Folder(folder) => {
                folder.durable.clone_from(&folder.seen);
                self.sweep();
            }
        }
        Ok(())
    }

    /// Takes a file's name away. Its bytes stay as long as a durable name, or somebody outside, knows them.
    pub fn remove_file(&mut self, folder: NodeId, name: &OsStr) -> Result<(), Refusal> {
        let node = self.find(folder, name)?;
        self.length(node)?;
        self.names_mut(folder)?.remove(name);
        Ok(())
    }

    /// Takes an empty folder away.
    pub fn remove_folder(&mut self, folder: NodeId, name: &OsStr) -> Result<(), Refusal> {
        let node = self.find(folder, name)?;
        if !self.names(node)?.is_empty() {
            return Err(Refusal::NotEmpty);
        }
        self.names_mut(folder)?.remove(name);
        Ok(())
    }

    /// Gives a node another name, over what has that name if it is of the same kind. It is durable when both folders
    /// are synced, and each for itself.
    pub fn rename(&mut self, from: (NodeId, &OsStr), to: (NodeId, &OsStr)) -> Result<(), Refusal> {
        check(to.1)?;
        let node = self.find(from.0, from.1)?;
        let is_folder = self.look(node)? == Look::Folder;
        if is_folder && self.reach(node, |folder| &folder.seen).contains(&to.0) {
            return Err(Refusal::Cycle);
        }
        match self.find(to.0, to.1) {
            Ok(there) if there == node => return Ok(()),
            Ok(there) => match (is_folder, self.names(there)) {
                (true, names) if !names?.is_empty() => return Err(Refusal::NotEmpty),
                (false, Ok(_)) => return Err(Refusal::IsFolder),
                _ => {}
            },
            Err(Refusal::Absent) => {}
            Err(refusal) => return Err(refusal),
        }
        self.names_mut(from.0)?.remove(from.1);
        self.names_mut(to.0)?.insert(to.1.to_owned(), node);
        Ok(())
    }

    /// Somebody outside was told of a node.
    pub fn remember(&mut self, node: NodeId) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.known += 1;
        }
    }

    /// Somebody outside has forgotten so often that he was told of a node.
    pub fn forget(&mut self, node: NodeId, times: u64) {
        if let Some(known) = self.nodes.get_mut(&node).filter(|_| node != ROOT) {
            known.known = known.known.saturating_sub(times);
        }
    }

    /// Cuts the power: what was not synced suffers.
    pub fn cut(&mut self, cut: Cut) -> Lost {
        let mut lost = Lost::default();
        let mut dice = Dice::new(match cut {
            Cut::Clean => 0,
            Cut::Torn { seed } => seed,
        });
        for node in self.nodes.values_mut() {
            match &mut node.body {
                Body::File(content) if content.is_synced() => {}
                Body::File(content) => {
                    lost.files += 1;
                    if cut == Cut::Clean { content.revert() } else { content.tear(&mut dice) }
                }
                Body::Folder(Folder { seen, durable }) => {
                    lost.names += seen.iter().filter(|(name, node)| durable.get(*name) != Some(*node)).count();
                    lost.names += durable.keys().filter(|name| !seen.contains_key(*name)).count();
                    seen.clone_from(durable);
                }
            }
        }
        self.unfork();
        self.sweep();
        lost
    }

    /// Each folder and file below the root with its path, folders before what lies in them.
    #[must_use]
    pub fn paths(&self) -> Vec<(std::path::PathBuf, NodeId)> {
        let mut paths = Vec::new();
        let mut open = vec![(std::path::PathBuf::new(), ROOT)];
        while let Some((path, folder)) = open.pop() {
            for (name, node) in self.names(folder).into_iter().flatten() {
                paths.push((path.join(name), *node));
                open.push((path.join(name), *node));
            }
        }
        paths
    }

    fn make(&mut self, folder: NodeId, name: &OsStr, body: Body) -> Result<NodeId, Refusal> {
        check(name)?;
        if self.names(folder)?.contains_key(name) {
            return Err(Refusal::Taken);
        }
        if self.nodes.len() >= NODES_MAX {
            self.sweep();
            if self.nodes.len() >= NODES_MAX {
                return Err(Refusal::Full);
            }
        }
        let node = NodeId(self.next);
        self.names_mut(folder)?.insert(name.to_owned(), node);
        self.next += 1;
        self.nodes.insert(node, Node { body, known: 0 });
        Ok(node)
    }

    fn folder(&self, node: NodeId) -> Result<&Folder, Refusal> {
        match &self.nodes.get(&node).ok_or(Refusal::Absent)?.body {
            Body::Folder(folder) => Ok(folder),
            Body::File(_) => Err(Refusal::NotFolder),
        }
    }

    fn names(&self, node: NodeId) -> Result<&Names, Refusal> {
        self.folder(node).map(|folder| &folder.seen)
    }

    fn names_mut(&mut self, node: NodeId) -> Result<&mut Names, Refusal> {
        match &mut self.nodes.get_mut(&node).ok_or(Refusal::Absent)?.body {
            Body::Folder(folder) => Ok(&mut folder.seen),
            Body::File(_) => Err(Refusal::NotFolder),
        }
    }

    fn content(&mut self, node: NodeId) -> Result<&mut Content, Refusal> {
        match &mut self.nodes.get_mut(&node).ok_or(Refusal::Absent)?.body {
            Body::File(content) => Ok(content),
            Body::Folder(_) => Err(Refusal::IsFolder),
        }
    }

    fn length(&self, file: NodeId) -> Result<u64, Refusal> {
        match self.look(file)? {
            Look::File(bytes) => Ok(bytes),
            Look::Folder => Err(Refusal::IsFolder),
        }
    }

    /// Whether there is room for so many bytes more.
    fn reserve(&mut self, bytes: u64) -> Result<(), Refusal> {
        let fits = |tree: &Self| tree.used.checked_add(bytes).is_some_and(|all| all <= tree.bytes_max);
        if !fits(self) {
            self.sweep();
        }
        if fits(self) { Ok(()) } else { Err(Refusal::Full) }
    }

    /// All nodes that names lead to from this one, itself included.
    fn reach(&self, from: NodeId, names: impl Fn(&Folder) -> &Names) -> BTreeSet<NodeId> {
        let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(node) = open.pop() {
            if reached.insert(node)
                && let Ok(folder) = self.folder(node)
            {
                open.extend(names(folder).values());
            }
        }
        reached
    }

    /// Drops what no name leads to and nobody outside knows.
    fn sweep(&mut self) {
        let mut kept = BTreeSet::new();
        let mut open: Vec<NodeId> = self.nodes.iter().filter(|(_, node)| node.known > 0).map(|(id, _)| *id).collect();
        while let Some(node) = open.pop() {
            if kept.insert(node)
                && let Ok(folder) = self.folder(node)
            {
                open.extend(folder.seen.values().chain(folder.durable.values()));
            }
        }
        self.nodes.retain(|id, _| kept.contains(id));
        let lengths = self.nodes.values().map(|node| match &node.body {
            Body::File(content) => content.bytes().len() as u64,
            Body::Folder(_) => 0,
        });
        self.used = lengths.sum();
    }

    /// A folder whose move was durable in the one folder only may have two names, or lie in itself: the first name
    /// from the root stays.
    fn unfork(&mut self) {
        let (mut met, mut open) = (BTreeSet::from([ROOT]), vec![ROOT]);
        while let Some(node) = open.pop() {
            let Ok(names) = self.names(node) else { continue };
            let inner: Vec<_> = names.iter().map(|(name, node)| (name.clone(), *node)).collect();
            for (name, inner) in inner {
                if self.names(inner).is_err() || met.insert(inner) {
                    open.push(inner);
                } else if let Some(Node { body: Body::Folder(Folder { seen, durable }), .. }) =
                    self.nodes.get_mut(&node)
                {
                    seen.remove(&name);
                    durable.remove(&name);
                }
            }
        }
    }
}

fn check(name: &OsStr) -> Result<(), Refusal> {
    if name.len() > NAME_BYTES_MAX { Err(Refusal::LongName) } else { Ok(()) }
}
