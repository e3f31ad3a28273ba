//! `posix_spawn` of one command.
//!
//! `std::process::Command` builds the whole environment anew for each start: half of the keeper's own work in a run of
//! short steps. Here the keeper's own variables are prepared once.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::rc::Rc;

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::libc::{self, c_char, c_int};
use nix::sys::signal::SigSet;
use nix::unistd::{AccessFlags, faccessat};

/// What this process was given and hands on.
pub(super) struct Given {
    /// As the kernel takes them: `NAME=value`.
    variables: Rc<[CString]>,
    search: Search,
}

/// The folders of PATH; none if not all of them are absolute, for then it depends on a command's folder what they are.
struct Search(Vec<Vec<u8>>);

impl Search {
    fn new(path: Option<OsString>) -> Self {
        let path = path.unwrap_or_default();
        let folders: Vec<_> = path.as_bytes().split(|byte| *byte == b':').map(<[u8]>::to_vec).collect();
        Self(if folders.iter().all(|folder| folder.starts_with(b"/")) { folders } else { Vec::new() })
    }

    /// Where the program seems to be. Whether it is, and what else stands in the way, is for its start to say.
    fn find(&self, program: &CStr) -> Option<CString> {
        let name = program.to_bytes();
        if name.is_empty() || name.contains(&b'/') {
            return None;
        }
        let mut paths = self.0.iter().map(|folder| [folder, &b"/"[..], name].concat());
        let path = paths.find_map(|path| {
            let path = CString::new(path).ok()?;
            faccessat(AT_FDCWD, path.as_c_str(), AccessFlags::X_OK, AtFlags::AT_EACCESS)
                .is_ok()
                .then_some(path)
        })?;
        // A folder may be entered, too; then somebody else must look further.
        Path::new(OsStr::from_bytes(path.to_bytes())).is_file().then_some(path)
    }
}

/// The variables of one command.
pub(super) struct Variables {
    given: Rc<[CString]>,
    unset: Vec<OsString>,
    set: Vec<CString>,
}

impl Given {
    pub fn new() -> Self {
        let entry = |(name, value): (OsString, OsString)| entry(name.as_bytes(), value.as_bytes()).ok();
        Self {
            variables: std::env::vars_os().filter_map(entry).collect(),
            search: Search::new(std::env::var_os("PATH")),
        }
    }

    /// These without `unset`, and then `set`, which outweighs both. Of two settings of one name the later counts.
    pub fn with<'a>(
        &self,
        unset: &[OsString],
        set: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> io::Result<Variables> {
        let set = set.map(|(name, value)| entry(name, value)).collect::<io::Result<_>>()?;
        Ok(Variables { given: Rc::clone(&self.variables), unset: unset.to_vec(), set })
    }
}

/// A NUL byte is an error of the kind `InvalidInput`, as `Command` says it.
fn entry(name: &[u8], value: &[u8]) -> io::Result<CString> {
    let mut entry = Vec::with_capacity(name.len() + value.len() + 2);
    entry.extend_from_slice(name);
    entry.push(b'=');
    entry.extend_from_slice(value);
    Ok(CString::new(entry)?)
}

fn name(entry: &CStr) -> &[u8] {
    entry.to_bytes().split(|byte| *byte == b'=').next().unwrap_or_default()
}

impl Variables {
    fn entries(&self) -> impl Iterator<Item = &CStr> {
        let set: Vec<&[u8]> = self.set.iter().map(|entry| name(entry)).collect();
        let last = move |at: usize, name: &[u8]| !set[at..].contains(&name);
        let kept = {
            let last = last.clone();
            self.given.iter().filter(move |entry| {
                let name = name(entry);
                last(0, name) && self.unset.iter().all(|unset| unset.as_bytes() != name)
            })
        };
        let set = self.set.iter().enumerate().filter(move |(at, entry)| last(at + 1, name(entry)));
        kept.chain(set.map(|(_, entry)| entry)).map(CString::as_c_str)
    }
}

/// What a command finds as its standard descriptors, all of them closed on exec here; it gets nothing else.
pub(super) struct Descriptors<'a> {
    /// `/dev/null` if there is none.
    pub stdin: Option<BorrowedFd<'a>>,
    pub stdout: BorrowedFd<'a>,
    pub stderr: BorrowedFd<'a>,
}

/// A command, ready to be started.
pub(super) struct Launch {
    /// What the lists below point to.
    argv: Vec<CString>,
    /// Where the program was found.
    found: Option<CString>,
    _variables: Variables,
    arguments: Vec<*mut c_char>,
    environment: Vec<*mut c_char>,
    actions: Actions,
    attributes: Attributes,
}

impl Launch {
    /// The program is looked for in this process's PATH: here, so that it is done when the start is due. `group` is the process
    /// group, 0 for one of its own. The descriptors must be open until the start.
    pub fn new(
        given: &Given,
        argv: &[String],
        workdir: &Path,
        variables: Variables,
        group: i32,
        descriptors: &Descriptors<'_>,
    ) -> io::Result<Self> {
        let argv = argv.iter().map(|text| CString::new(text.as_str()));
        let argv = argv.collect::<Result<Vec<_>, _>>()?;
        let arguments = pointers(argv.iter().map(CString::as_c_str));
        let environment = pointers(variables.entries());
        let mut actions = Actions::new()?;
        match descriptors.stdin {
            Some(stdin) => actions.give(stdin.as_raw_fd(), libc::STDIN_FILENO)?,
            None => actions.open_null(libc::STDIN_FILENO)?,
        }
        actions.give(descriptors.stdout.as_raw_fd(), libc::STDOUT_FILENO)?;
        actions.give(descriptors.stderr.as_raw_fd(), libc::STDERR_FILENO)?;
        actions.enter(&CString::new(workdir.as_os_str().as_bytes())?)?;
        let attributes = Attributes::new(group)?;
        let mut launch =
            Self { argv, found: None, _variables: variables, arguments, environment, actions, attributes };
        launch.find(given);
        Ok(launch)
    }

    /// Looks for the program.
    pub fn find(&mut self, given: &Given) {
        self.found = self.argv.first().and_then(|program| given.search.find(program));
    }

    /// The pid of the new process. It has no signal blocked, ignored or handled.
    pub fn start(&self) -> io::Result<i32> {
        let program = self.argv.first().ok_or(io::ErrorKind::InvalidInput)?;
        if let Some(found) = &self.found
            && let Ok(pid) = self.spawn(libc::posix_spawn, found)
        {
            return Ok(pid);
        }
        // It was not found, or is not what it seemed to be: the C library says what it finds.
        self.spawn(libc::posix_spawnp, program)
    }

    fn spawn(&self, how: PosixSpawn, program: &CStr) -> io::Result<i32> {
        let mut pid = 0;
        // SAFETY: both lists end with a null pointer and point to texts that `self` keeps; actions and attributes were made
        // by the C library.
        check(unsafe {
            how(
                &raw mut pid,
                program.as_ptr(),
                &raw const self.actions.0,
                &raw const self.attributes.0,
                self.arguments.as_ptr(),
                self.environment.as_ptr(),
            )
        })?;
        Ok(pid)
    }
}

/// `posix_spawn`, and `posix_spawnp`, which tries to start the program in each folder of PATH.
type PosixSpawn = unsafe extern "C" fn(
    *mut libc::pid_t,
    *const c_char,
    *const libc::posix_spawn_file_actions_t,
    *const libc::posix_spawnattr_t,
    *const *mut c_char,
    *const *mut c_char,
) -> c_int;

/// A list as `exec` takes it. The kernel changes none of the texts.
fn pointers<'a>(texts: impl Iterator<Item = &'a CStr>) -> Vec<*mut c_char> {
    texts.map(|text| text.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect()
}

/// These calls return what others put into `errno`.
fn check(code: c_int) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}

struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new() -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: the call initializes what it is given, or fails.
        check(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: it did not fail.
        Ok(Self(unsafe { actions.assume_init() }))
    }

    fn give(&mut self, from: RawFd, to: RawFd) -> io::Result<()> {
        // SAFETY: initialized above; a bad descriptor is an error.
        check(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.0, from, to) })
    }

    fn open_null(&mut self, to: RawFd) -> io::Result<()> {
        // SAFETY: initialized above; the path is copied.
        check(unsafe {
            libc::posix_spawn_file_actions_addopen(
                &raw mut self.0,
                to,
                c"/dev/null".as_ptr(),
                libc::O_RDWR,
                0,
            )
        })
    }

    fn enter(&mut self, folder: &CStr) -> io::Result<()> {
        // SAFETY: initialized above; the path is copied.
        check(unsafe { libc::posix_spawn_file_actions_addchdir_np(&raw mut self.0, folder.as_ptr()) })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialized in `new`, and not used any more.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new(group: i32) -> io::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the call initializes what it is given, or fails.
        check(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: it did not fail.
        let mut attributes = Self(unsafe { attributes.assume_init() });
        let to = &raw mut attributes.0;
        let flags = libc::POSIX_SPAWN_SETPGROUP | libc::POSIX_SPAWN_SETSIGDEF | libc::POSIX_SPAWN_SETSIGMASK;
        // All signals by name: the C library would else ask for each one first, a system call for each.
        let (all, none) = (SigSet::all(), SigSet::empty());
        // SAFETY: initialized above; the sets are copied.
        unsafe {
            check(libc::posix_spawnattr_setflags(to, flags as libc::c_short))?;
            check(libc::posix_spawnattr_setpgroup(to, group))?;
            check(libc::posix_spawnattr_setsigdefault(to, all.as_ref()))?;
            check(libc::posix_spawnattr_setsigmask(to, none.as_ref()))?;
        }
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialized in `new`, and not used any more.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;

    fn shown(given: &[&str], unset: &[&str], set: &[(&str, &str)]) -> Vec<String> {
        let given = given.iter().map(|entry| CString::new(*entry).unwrap()).collect();
        let given = Given { variables: given, search: Search::new(None) };
        let unset: Vec<OsString> = unset.iter().map(OsString::from).collect();
        let set = set.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let variables = given.with(&unset, set).unwrap();
        variables.entries().map(|entry| entry.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_setting_outweighs_what_was_given_and_what_is_unset() {
        let given = ["A=1", "B=2=2", "C=", "AA=3"];
        assert_eq!(shown(&given, &[], &[]), given);
        assert_eq!(shown(&given, &["A", "C"], &[]), ["B=2=2", "AA=3"]);
        assert_eq!(shown(&given, &["A"], &[("A", "x"), ("B", "")]), ["C=", "AA=3", "A=x", "B="]);
        assert_eq!(shown(&[], &[], &[("A", "1"), ("B", "2"), ("A", "3")]), ["B=2", "A=3"]);
    }

    #[test]
    fn a_nul_byte_is_refused() {
        let given = Given { variables: Rc::new([]), search: Search::new(None) };
        let error = given.with(&[], [(&b"A"[..], &b"x\0y"[..])].into_iter()).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_program_is_where_it_can_be_started() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for (name, mode) in [("plain", 0o644), ("good", 0o755)] {
            std::fs::create_dir(path(name)).unwrap();
            std::fs::write(path(name).join("tool"), "#!/bin/sh\n").unwrap();
            std::fs::set_permissions(path(name).join("tool"), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        std::fs::create_dir_all(path("folder/tool")).unwrap();
        let find = |folders: &[&str], program: &CStr| {
            let folders = folders.iter().map(|name| path(name).into_os_string());
            let found = Search::new(Some(folders.collect::<Vec<_>>().join(OsStr::new(":")))).find(program);
            found.map(|found| PathBuf::from(OsStr::from_bytes(found.to_bytes())))
        };
        assert_eq!(find(&["absent", "plain", "good"], c"tool"), Some(path("good/tool")));
        // Left to the C library.
        assert_eq!(find(&["plain"], c"tool"), None);
        assert_eq!(find(&["folder", "good"], c"tool"), None);
        assert_eq!(find(&["good"], c"./tool"), None);
        assert_eq!(find(&["good"], c""), None);
        let relative = OsString::from("/bin:bin");
        assert_eq!(Search::new(Some(relative)).find(c"sh"), None);
        assert_eq!(Search::new(Some(OsString::from("/bin:"))).find(c"sh"), None);
    }
}
