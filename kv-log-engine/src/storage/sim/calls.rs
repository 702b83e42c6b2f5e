//! The calls that a store makes: each passes the gates and the faults, changes the medium, and is traced.

use super::fault::{EMFILE, ENOSPC, os_error};
use super::medium::{Node, Op, SECTOR_BYTES};
use super::{FaultKind, OpKind, Shared, SimDisk, State};
use crate::storage::{DirEntry, Directory, FileId, FileKind, OpenMode, Storage, StorageFile};
use crate::sync::lock_std as lock;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard, Weak};

impl Shared {
    /// Gates and faults that stand before every call.
    pub(super) fn enter(&self, kind: OpKind, path: &Path) -> io::Result<Option<FaultKind>> {
        let gates: Vec<_> = {
            let mut state = lock(&self.state);
            *state.calls.entry(kind).or_default() += 1;
            state.gates.retain(|gate| gate.strong_count() > 0);
            state
                .gates
                .iter()
                .filter_map(Weak::upgrade)
                .filter(|gate| gate.is_for(kind, path))
                .collect()
        };
        gates.iter().for_each(|gate| gate.stand());
        let mut state = lock(&self.state);
        let fault = state
            .faults
            .iter_mut()
            .find_map(|fault| fault.strike(kind, path));
        match fault {
            Some(FaultKind::Errno(errno)) if !matches!(kind, OpKind::Sync | OpKind::SyncDir) => {
                Err(os_error(errno))
            }
            fault => Ok(fault),
        }
    }

    pub(super) fn do_op(state: &mut State, op: Op) {
        state.medium.apply(&op);
        if let Some(trace) = &mut state.trace {
            trace.ops.push(op);
        }
    }
}

impl Storage for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let kind = if mode == OpenMode::CreateNew {
            OpKind::Create
        } else {
            OpKind::Open
        };
        self.shared.enter(kind, path)?;
        let mut state = self.lock();
        state.may_open()?;
        let inode = match (state.medium.find(path), mode) {
            (Ok(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Ok(inode), _) => inode,
            (Err(error), OpenMode::CreateNew) if error.kind() == io::ErrorKind::NotFound => {
                let (dir, name) = state.medium.find_parent(path)?;
                let inode = state.medium.next_inode;
                Shared::do_op(
                    &mut state,
                    Op::Create {
                        dir,
                        name,
                        inode,
                        directory: false,
                    },
                );
                inode
            }
            (Err(error), _) => return Err(error),
        };
        state.medium.file(inode)?;
        let handle = state.next_handle;
        state.next_handle += 1;
        state.open_files += 1;
        Ok(Arc::new(SimFile {
            shared: Arc::clone(&self.shared),
            path: path.to_path_buf(),
            inode,
            handle,
            process: state.process,
            writable: mode != OpenMode::Read,
        }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.shared.enter(OpKind::CreateDir, path)?;
        let mut state = self.lock();
        if state.medium.find(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (dir, name) = state.medium.find_parent(path)?;
        let inode = state.medium.next_inode;
        Shared::do_op(
            &mut state,
            Op::Create {
                dir,
                name,
                inode,
                directory: true,
            },
        );
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.shared.enter(OpKind::List, path)?;
        let state = self.lock();
        state.may_open()?;
        let inode = state.medium.find(path)?;
        let dir = state
            .medium
            .dir(inode)
            .ok_or(io::ErrorKind::NotADirectory)?;
        let kind = |inode| match state.medium.nodes.get(inode) {
            Some(Node::Dir(_)) => FileKind::Directory,
            _ => FileKind::File,
        };
        let entries = dir.names.iter();
        Ok(entries
            .map(|(name, inode)| DirEntry {
                name: name.to_string(),
                kind: kind(inode),
            })
            .collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.shared.enter(OpKind::Rename, from)?;
        let mut state = self.lock();
        state.medium.find(from)?;
        let (dir, from) = state.medium.find_parent(from)?;
        let (to_dir, to) = state.medium.find_parent(to)?;
        if dir != to_dir {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        Shared::do_op(&mut state, Op::Rename { dir, from, to });
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.shared.enter(OpKind::Remove, path)?;
        let mut state = self.lock();
        let inode = state.medium.find(path)?;
        state.medium.file(inode)?;
        let (dir, name) = state.medium.find_parent(path)?;
        Shared::do_op(&mut state, Op::Remove { dir, name });
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.shared.enter(OpKind::Remove, path)?;
        let mut state = self.lock();
        let inode = state.medium.find(path)?;
        let empty = state
            .medium
            .dir(inode)
            .ok_or(io::ErrorKind::NotADirectory)?
            .names
            .is_empty();
        if !empty {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let (dir, name) = state.medium.find_parent(path)?;
        Shared::do_op(&mut state, Op::Remove { dir, name });
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let fault = self.shared.enter(OpKind::SyncDir, path)?;
        let mut state = self.lock();
        state.may_open()?;
        let dir = state.medium.find(path)?;
        sync_names(&mut state, dir, fault)
    }

    fn open_dir(&self, path: &Path) -> io::Result<Arc<dyn Directory>> {
        self.shared.enter(OpKind::Open, path)?;
        let state = self.lock();
        let dir = state.medium.find(path)?;
        state.medium.dir(dir).ok_or(io::ErrorKind::NotADirectory)?;
        Ok(Arc::new(SimDirectory {
            shared: Arc::clone(&self.shared),
            path: path.to_path_buf(),
            dir,
            process: state.process,
        }))
    }

    /// There are no links.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_path_buf())
    }

    fn file_id(&self, path: &Path) -> io::Result<FileId> {
        self.shared.enter(OpKind::Look, path)?;
        let state = self.lock();
        Ok(FileId {
            device: state.device,
            inode: state.medium.find(path)?,
        })
    }
}

fn sync_names(state: &mut State, dir: u64, fault: Option<FaultKind>) -> io::Result<()> {
    state.medium.dir(dir).ok_or(io::ErrorKind::NotADirectory)?;
    match fault {
        // It could not be opened, so nothing was synced.
        Some(FaultKind::Errno(EMFILE)) => Err(os_error(EMFILE)),
        Some(FaultKind::Errno(errno)) => {
            Shared::do_op(state, Op::FailedSyncDir { dir });
            Err(os_error(errno))
        }
        Some(FaultKind::Lie) => Ok(()),
        _ => {
            Shared::do_op(state, Op::SyncDir { dir });
            Ok(())
        }
    }
}

/// An open directory of a simulated disk.
#[derive(Debug)]
struct SimDirectory {
    shared: Arc<Shared>,
    path: PathBuf,
    dir: u64,
    process: u64,
}

impl Directory for SimDirectory {
    fn sync(&self) -> io::Result<()> {
        let fault = self.shared.enter(OpKind::SyncDir, &self.path)?;
        let mut state = lock(&self.shared.state);
        if state.process != self.process {
            return Err(io::Error::other("the process is dead"));
        }
        sync_names(&mut state, self.dir, fault)
    }
}

/// An open file of a simulated disk.
#[derive(Debug)]
struct SimFile {
    shared: Arc<Shared>,
    path: PathBuf,
    inode: u64,
    handle: u64,
    process: u64,
    writable: bool,
}

impl SimFile {
    fn enter(&self, kind: OpKind) -> io::Result<(MutexGuard<'_, State>, Option<FaultKind>)> {
        let fault = self.shared.enter(kind, &self.path)?;
        let state = lock(&self.shared.state);
        if state.process != self.process {
            return Err(io::Error::other("the process is dead"));
        }
        Ok((state, fault))
    }
}

impl StorageFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let (state, fault) = self.enter(OpKind::Read)?;
        let buffer = match fault {
            Some(FaultKind::Short(count)) => {
                let count = count.max(1).min(buffer.len());
                &mut buffer[..count]
            }
            _ => buffer,
        };
        Ok(state.medium.file(self.inode)?.read(buffer, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let (mut state, fault) = self.enter(OpKind::Write)?;
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut count = bytes.len();
        let mut error = None;
        match fault {
            Some(FaultKind::Short(most)) => count = count.min(most.max(1)),
            Some(FaultKind::PartThenErrno(part, errno)) => {
                count = count.min(part);
                error = Some(errno);
            }
            _ => {}
        }
        let fits = state.fits(self.inode, offset, count)?;
        if fits == 0 && count > 0 {
            return Err(os_error(ENOSPC));
        }
        count = fits;
        if count > 0 {
            let op = Op::Write {
                inode: self.inode,
                offset,
                bytes: bytes[..count].into(),
            };
            Shared::do_op(&mut state, op);
            state.written_bytes += count as u64;
        }
        match error {
            Some(errno) => Err(os_error(errno)),
            None => Ok(count),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let (mut state, fault) = self.enter(OpKind::Sync)?;
        let full = state.capacity.is_some_and(|most| state.used_bytes() > most);
        let errno = match fault {
            Some(FaultKind::Lie) => return Ok(()),
            Some(FaultKind::Errno(errno)) => Some(errno),
            _ if full && state.no_space_at_sync => Some(ENOSPC),
            _ => None,
        };
        if let Some(errno) = errno {
            Shared::do_op(&mut state, Op::FailedSync { inode: self.inode });
            return Err(os_error(errno));
        }
        Shared::do_op(&mut state, Op::Sync { inode: self.inode });
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let (state, _) = self.enter(OpKind::Look)?;
        Ok(state.medium.file(self.inode)?.length)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let (mut state, _) = self.enter(OpKind::SetLen)?;
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        // A block that is cut in its middle is written again.
        let within = usize::try_from(length).unwrap_or_default() % SECTOR_BYTES;
        let cut = length < state.medium.file(self.inode)?.length && within > 0;
        if cut && state.fits(self.inode, length, 1)? == 0 {
            return Err(os_error(ENOSPC));
        }
        Shared::do_op(
            &mut state,
            Op::SetLen {
                inode: self.inode,
                length,
            },
        );
        Ok(())
    }

    fn file_id(&self) -> io::Result<FileId> {
        let (state, _) = self.enter(OpKind::Look)?;
        Ok(FileId {
            device: state.device,
            inode: self.inode,
        })
    }

    fn try_lock(&self) -> io::Result<bool> {
        let (mut state, _) = self.enter(OpKind::Lock)?;
        let holder = *state.locks.entry(self.inode).or_insert(self.handle);
        Ok(holder == self.handle)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.open_files -= 1;
        if state.process == self.process && state.locks.get(&self.inode) == Some(&self.handle) {
            state.locks.remove(&self.inode);
        }
    }
}
