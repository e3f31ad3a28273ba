//! An open folder, and files opened relative to it: never through a symbolic link, never somebody else's.

use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use super::{IoFault, StateError};

const OWNER_ONLY_FOLDER: u32 = 0o700;
const OWNER_ONLY_FILE: u32 = 0o600;

/// An open folder that belongs to this user and that nobody else can write to.
#[derive(Debug)]
pub(super) struct Folder {
    handle: File,
    path: PathBuf,
}

impl Folder {
    /// Opens a folder by its path. `None` if there is none.
    ///
    /// The path itself may lead through symbolic links (people place their state where they like), but its last part
    /// only through one that this user or root made.
    pub fn open(path: &Path) -> Result<Option<Self>, StateError> {
        let fault = |error: io::Error| IoFault::new("open", path, error);
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fault(error).into()),
            Ok(meta) if meta.is_symlink() && meta.uid() != 0 && meta.uid() != geteuid().as_raw() => {
                return Err(refuse(path, "it is a symbolic link made by another user"));
            }
            Ok(_) => {}
        }
        // O_DIRECTORY by way of metadata: opening a FIFO could wait forever.
        let meta = path.metadata().map_err(fault)?;
        if !meta.is_dir() {
            return Err(refuse(path, "it is not a folder"));
        }
        let handle = File::open(path).map_err(fault)?;
        Self::checked(handle, path.to_owned()).map(Some)
    }

    /// Makes the folder and what is missing above it, each 0700, and syncs each folder above a new one.
    pub fn open_or_create(path: &Path) -> Result<Self, StateError> {
        if let Some(folder) = Self::open(path)? {
            return Ok(folder);
        }
        let missing: Vec<&Path> = path
            .ancestors()
            .take_while(|p| !p.as_os_str().is_empty() && p.symlink_metadata().is_err())
            .collect();
        for new in missing.iter().rev() {
            let fault = |error: io::Error| IoFault::new("create", new, error);
            match DirBuilder::new().mode(OWNER_ONLY_FOLDER).create(new) {
                // An odd umask may have taken bits of the owner.
                Ok(()) => {
                    std::fs::set_permissions(new, Permissions::from_mode(OWNER_ONLY_FOLDER)).map_err(fault)?
                }
                // Another runbook was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(fault(error).into()),
            }
            let above = match new.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            File::open(above)
                .and_then(|parent| parent.sync_all())
                .map_err(|error| IoFault::new("sync", above, error))?;
        }
        Self::open(path)?
            .ok_or_else(|| IoFault::new("open", path, io::Error::from(io::ErrorKind::NotFound)).into())
    }

    fn checked(handle: File, path: PathBuf) -> Result<Self, StateError> {
        let meta = handle.metadata().map_err(|error| IoFault::new("inspect", &path, error))?;
        check_ours(&path, &meta)?;
        Ok(Self { handle, path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn try_clone(&self) -> Result<Self, StateError> {
        let handle = self.handle.try_clone().map_err(|error| IoFault::new("open", &self.path, error))?;
        Ok(Self { handle, path: self.path.clone() })
    }

    /// Opens a folder below this one. `None` if there is none.
    pub fn sub(&self, name: &str) -> Result<Option<Self>, StateError> {
        let path = self.path.join(name);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(&self.handle, name, flags, Mode::empty()) {
            Ok(fd) => Self::checked(File::from(fd), path).map(Some),
            Err(Errno::ENOENT) => Ok(None),
            Err(Errno::ELOOP | Errno::ENOTDIR) => Err(refuse(&path, "it is a symbolic link or not a folder")),
            Err(error) => Err(IoFault::new("open", &path, error).into()),
        }
    }

    /// Makes a folder below this one; it is an error if it exists. Not synced.
    pub fn create_sub(&self, name: &str) -> Result<Self, StateError> {
        let path = self.path.join(name);
        let fault = |error: Errno| IoFault::new("create", &path, error);
        mkdirat(&self.handle, name, Mode::from_bits_truncate(OWNER_ONLY_FOLDER)).map_err(fault)?;
        // An odd umask may have taken bits of the owner. Nobody else can put something in this place: see `checked`.
        let mode = Mode::from_bits_truncate(OWNER_ONLY_FOLDER);
        fchmodat(&self.handle, name, mode, FchmodatFlags::FollowSymlink).map_err(fault)?;
        self.sub(name)?.ok_or_else(|| fault(Errno::ENOENT).into())
    }

    /// Opens a folder below this one; makes it, and syncs this one, if there is none.
    pub fn sub_or_create(&self, name: &str) -> Result<Self, StateError> {
        if let Some(folder) = self.sub(name)? {
            return Ok(folder);
        }
        match self.create_sub(name) {
            Err(StateError::Io(fault)) if fault.errno == Some(Errno::EEXIST as i32) => {
                self.sub(name)?.ok_or(StateError::Io(fault))
            }
            Err(error) => Err(error),
            Ok(folder) => {
                self.sync()?;
                Ok(folder)
            }
        }
    }

    /// Opens a file. `None` if there is none.
    pub fn file(&self, name: &str, access: Access) -> Result<Option<File>, StateError> {
        let path = self.path.join(name);
        // O_NONBLOCK, or a planted FIFO would make us wait for ever.
        let flags = access.flags() | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let file = match openat(&self.handle, name, flags, Mode::from_bits_truncate(OWNER_ONLY_FILE)) {
            Ok(fd) => File::from(fd),
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP) => return Err(refuse(&path, "it is a symbolic link")),
            Err(Errno::ENXIO | Errno::EISDIR) => return Err(refuse(&path, "it is not a file")),
            Err(error) => return Err(IoFault::new(access.verb(), &path, error).into()),
        };
        let meta = file.metadata().map_err(|error| IoFault::new("inspect", &path, error))?;
        if !meta.is_file() {
            return Err(refuse(&path, "it is not a file"));
        }
        check_ours(&path, &meta)?;
        if access.creates() && meta.mode() & 0o777 != OWNER_ONLY_FILE {
            file.set_permissions(Permissions::from_mode(OWNER_ONLY_FILE))
                .map_err(|error| IoFault::new("create", &path, error))?;
        }
        Ok(Some(file))
    }

    /// Makes a new, empty file; it is an error if there is one.
    pub fn create_file(&self, name: &str) -> Result<File, StateError> {
        self.file(name, Access::CreateNew)?
            .ok_or_else(|| IoFault::new("create", &self.path.join(name), Errno::ENOENT).into())
    }

    /// Replaces (or makes) a file: afterwards it holds either what it held or `bytes`, also after a power cut.
    pub fn replace_file(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        self.replace(name, bytes, File::sync_all)?;
        self.sync()
    }

    /// The same without its price: a power cut may leave neither.
    pub fn replace_file_unsynced(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        self.replace(name, bytes, |_| Ok(()))
    }

    fn replace(&self, name: &str, bytes: &[u8], sync: fn(&File) -> io::Result<()>) -> Result<(), StateError> {
        let draft = format!(".{name}.new");
        self.remove_file(&draft)?;
        let file = self.create_file(&draft)?;
        let written = io::Write::write_all(&mut &file, bytes).and_then(|()| sync(&file));
        if let Err(error) = written {
            let fault = IoFault::new("write", &self.path.join(name), error);
            // Best effort: what is left is overwritten by the next try.
            let _ = self.remove_file(&draft);
            return Err(fault.into());
        }
        renameat(&self.handle, draft.as_str(), &self.handle, name)
            .map_err(|error| IoFault::new("write", &self.path.join(name), error).into())
    }

    /// Removes a file. False if there was none.
    pub fn remove_file(&self, name: &str) -> Result<bool, StateError> {
        match unlinkat(&self.handle, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(error) => Err(IoFault::new("remove", &self.path.join(name), error).into()),
        }
    }

    pub fn sync(&self) -> Result<(), StateError> {
        self.handle.sync_all().map_err(|error| IoFault::new("sync", &self.path, error).into())
    }
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    /// Reads, and writes at the end.
    Append,
    /// For writing; made if there is none.
    ReadWriteCreate,
    /// For writing at the end; it must not exist.
    CreateNew,
}

impl Access {
    fn flags(self) -> OFlag {
        match self {
            Self::Read => OFlag::O_RDONLY,
            Self::Append => OFlag::O_RDWR | OFlag::O_APPEND,
            Self::ReadWriteCreate => OFlag::O_RDWR | OFlag::O_CREAT,
            Self::CreateNew => OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_EXCL,
        }
    }

    fn creates(self) -> bool {
        matches!(self, Self::ReadWriteCreate | Self::CreateNew)
    }

    fn verb(self) -> &'static str {
        if self.creates() { "create" } else { "open" }
    }
}

fn refuse(path: &Path, why: &str) -> StateError {
    StateError::Unsafe { path: path.to_owned(), why: why.to_owned() }
}

/// What somebody else owns or can write to is no record of what we did.
fn check_ours(path: &Path, meta: &std::fs::Metadata) -> Result<(), StateError> {
    let me = geteuid().as_raw();
    if meta.uid() != me {
        return Err(refuse(path, &format!("it belongs to user {}, not to you (user {me})", meta.uid())));
    }
    if meta.mode() & 0o022 != 0 {
        let (mode, want) = (meta.mode() & 0o777, meta.mode() & 0o700);
        return Err(refuse(
            path,
            &format!(
                "others can write to it (mode {mode:03o}): look at what is in it, then chmod {want:03o} it"
            ),
        ));
    }
    Ok(())
}
