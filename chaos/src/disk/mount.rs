//! A tree of files, mounted on a folder by FUSE.
//!
//! Invariant: each request is one step of the tree and is answered before the next one is taken, and the kernel is
//! told to keep nothing: what the tree says after a cut is what the next program sees.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use nix::mount::{MntFlags, umount2};

use super::command::Deaf;
use super::tree::{Look, NAME_BYTES_MAX, NODES_MAX, NodeId, Refusal, Tree};

/// How long the kernel may believe a name or a length: a cut changes them behind its back.
const BELIEVED: Duration = Duration::ZERO;
/// Numbers of nodes are never used again, so there is one generation.
const GENERATION: Generation = Generation(0);
/// There are no handles: a file is known by its number.
const NO_HANDLE: FileHandle = FileHandle(0);
/// The unit in which room is told, in bytes.
const BLOCK_BYTES: u32 = 512;
const FOLDER_MODE: u16 = 0o755;
const FILE_MODE: u16 = 0o644;

/// A folder that is served. Dropping it takes it down if nobody uses it.
pub(super) struct Mounted {
    session: BackgroundSession,
    folder: PathBuf,
}

/// Mounts the tree on a folder and serves it.
pub(super) fn mount(tree: Arc<Mutex<Tree>>, deaf_to: Option<Deaf>, folder: &Path) -> io::Result<Mounted> {
    let mut config = Config::default();
    config.mount_options =
        vec![MountOption::FSName("callboard-disk".to_owned()), MountOption::NoExec, MountOption::NoAtime];
    let session = fuser::spawn_mount(Adapter { tree, deaf_to }, folder, &config)?;
    Ok(Mounted { session, folder: folder.to_owned() })
}

impl Mounted {
    /// Takes it down. Whoever still uses it can go on as long as this process lives.
    pub(super) fn take_down(self) -> io::Result<()> {
        self.session.umount_and_join().or_else(|_| detach(&self.folder))
    }
}

/// Takes down what a server that died has left mounted on a folder; a folder that is well is left alone.
pub fn take_down_stale(folder: &Path) -> io::Result<()> {
    match std::fs::metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => detach(folder),
        _ => Ok(()),
    }
}

fn detach(folder: &Path) -> io::Result<()> {
    Ok(umount2(folder, MntFlags::MNT_DETACH)?)
}

struct Adapter {
    tree: Arc<Mutex<Tree>>,
    deaf_to: Option<Deaf>,
}

impl From<Refusal> for Errno {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Absent => Self::ENOENT,
            Refusal::Taken => Self::EEXIST,
            Refusal::NotFolder => Self::ENOTDIR,
            Refusal::IsFolder => Self::EISDIR,
            Refusal::NotEmpty => Self::ENOTEMPTY,
            Refusal::Full => Self::ENOSPC,
            Refusal::LongName => Self::ENAMETOOLONG,
            Refusal::Cycle => Self::EINVAL,
        }
    }
}

impl Adapter {
    fn tree(&self) -> MutexGuard<'_, Tree> {
        // Each step leaves the tree whole, so a panic elsewhere does no harm.
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sync(&self, node: INodeNo, of: Deaf) -> Result<(), Refusal> {
        if self.deaf_to == Some(of) { Ok(()) } else { self.tree().sync(id(node)) }
    }

    /// What was found or made, remembered as told.
    fn entry(
        &self,
        request: &Request,
        of: impl FnOnce(&mut Tree) -> Result<NodeId, Refusal>,
    ) -> Result<FileAttr, Refusal> {
        let mut tree = self.tree();
        let node = of(&mut tree)?;
        let attributes = attributes(&tree, node, request)?;
        tree.remember(node);
        Ok(attributes)
    }
}

fn id(node: INodeNo) -> NodeId {
    NodeId(node.0)
}

/// Modes and times play no part in what is lost: all are the same.
fn attributes(tree: &Tree, node: NodeId, request: &Request) -> Result<FileAttr, Refusal> {
    let (kind, perm, size) = match tree.look(node)? {
        Look::File(bytes) => (FileType::RegularFile, FILE_MODE, bytes),
        Look::Folder => (FileType::Directory, FOLDER_MODE, 0),
    };
    Ok(FileAttr {
        ino: INodeNo(node.0),
        size,
        blocks: size.div_ceil(u64::from(BLOCK_BYTES)),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm,
        nlink: 1,
        uid: request.uid(),
        gid: request.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    })
}

fn answer_entry(reply: ReplyEntry, entry: Result<FileAttr, Refusal>) {
    match entry {
        Ok(attributes) => reply.entry(&BELIEVED, &attributes, GENERATION),
        Err(refusal) => reply.error(refusal.into()),
    }
}

fn answer(reply: ReplyEmpty, done: Result<(), Refusal>) {
    match done {
        Ok(()) => reply.ok(),
        Err(refusal) => reply.error(refusal.into()),
    }
}

impl Filesystem for Adapter {
    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer_entry(reply, self.entry(request, |tree| tree.find(id(parent), name)));
    }

    fn forget(&self, _: &Request, node: INodeNo, times: u64) {
        self.tree().forget(id(node), times);
    }

    fn getattr(&self, request: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match attributes(&self.tree(), id(node), request) {
            Ok(attributes) => reply.attr(&BELIEVED, &attributes),
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    fn setattr(
        &self,
        request: &Request,
        node: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<std::time::SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<std::time::SystemTime>,
        _chgtime: Option<std::time::SystemTime>,
        _bkuptime: Option<std::time::SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut tree = self.tree();
        let resized = size.map_or(Ok(()), |size| tree.resize(id(node), size));
        match resized.and_then(|()| attributes(&tree, id(node), request)) {
            Ok(attributes) => reply.attr(&BELIEVED, &attributes),
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, _mode: u32, _umask: u32, reply: ReplyEntry) {
        answer_entry(reply, self.entry(request, |tree| tree.make_folder(id(parent), name)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(reply, self.tree().remove_file(id(parent), name));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(reply, self.tree().remove_folder(id(parent), name));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !RenameFlags::RENAME_NOREPLACE.contains(flags) {
            return reply.error(Errno::EINVAL);
        }
        let mut tree = self.tree();
        let (from, to) = ((id(parent), name), (id(new_parent), new_name));
        if flags.contains(RenameFlags::RENAME_NOREPLACE) && tree.find(to.0, to.1).is_ok() {
            return reply.error(Errno::EEXIST);
        }
        answer(reply, tree.rename(from, to));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match self.entry(request, |tree| tree.make_file(id(parent), name)) {
            Ok(attributes) => reply.created(&BELIEVED, &attributes, GENERATION, NO_HANDLE, FopenFlags::empty()),
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    fn read(
        &self,
        _: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.tree().read(id(node), offset, usize::try_from(size).unwrap_or(usize::MAX)) {
            Ok(bytes) => reply.data(bytes),
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    fn write(
        &self,
        _: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        bytes: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.tree().write(id(node), offset, bytes) {
            Ok(()) => reply.written(u32::try_from(bytes.len()).unwrap_or(u32::MAX)),
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, node: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        answer(reply, self.sync(node, Deaf::Files));
    }

    fn fsyncdir(&self, _: &Request, node: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        answer(reply, self.sync(node, Deaf::Folders));
    }

    fn readdir(&self, _: &Request, node: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let tree = self.tree();
        let names = match tree.list(id(node)) {
            Ok(names) => names,
            Err(refusal) => return reply.error(refusal.into()),
        };
        // The kernel does without a name for the folder above; it knows it.
        let dots = [OsStr::new("."), OsStr::new("..")].map(|name| (name, id(node)));
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        for (place, (name, inner)) in dots.into_iter().chain(names).enumerate().skip(skipped) {
            let kind = match tree.look(inner) {
                Ok(Look::File(_)) => FileType::RegularFile,
                _ => FileType::Directory,
            };
            if reply.add(INodeNo(inner.0), place as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let (used, bytes_max) = self.tree().room();
        let unit = u64::from(BLOCK_BYTES);
        let free = bytes_max.saturating_sub(used) / unit;
        let nodes_max = NODES_MAX as u64;
        let name_bytes_max = u32::try_from(NAME_BYTES_MAX).unwrap_or(u32::MAX);
        reply.statfs(bytes_max / unit, free, free, nodes_max, nodes_max, BLOCK_BYTES, name_bytes_max, BLOCK_BYTES);
    }

    fn fallocate(
        &self,
        _: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let mut tree = self.tree();
        let done = match (tree.look(id(node)), offset.checked_add(length)) {
            (Ok(Look::File(bytes)), Some(end)) if end > bytes => tree.resize(id(node), end),
            (Ok(Look::File(_)), Some(_)) => Ok(()),
            (Ok(Look::Folder), _) => Err(Refusal::IsFolder),
            (Ok(Look::File(_)), None) => Err(Refusal::Full),
            (Err(refusal), _) => Err(refusal),
        };
        answer(reply, done);
    }
}
