//! Where relative paths count from.

use std::path::{Path, PathBuf};

use crate::playbook::load::Book;

pub(super) struct Base {
    /// Where the engineer stands. Absolute.
    pub cwd: PathBuf,
    /// Instead of the first book's own root.
    pub root: Option<PathBuf>,
    /// The path of the first book.
    pub main: PathBuf,
}

impl Base {
    /// For a lint, which needs no true folders but tells different ones apart.
    pub fn anywhere(main: &Book) -> Self {
        Self { cwd: PathBuf::from("/"), root: None, main: main.path.clone() }
    }

    /// The folder that a book's relative paths count from. Absolute.
    pub fn root_of(&self, book: &Book) -> PathBuf {
        if let (Some(root), true) = (&self.root, book.path == self.main) {
            return join(&self.cwd, root);
        }
        let folder = join(&self.cwd, &book.folder);
        match &book.playbook.workdir {
            Some(workdir) => join(&folder, Path::new(&workdir.value)),
            None => folder,
        }
    }
}

/// `path` counted from `base`, without `.` and doubled slashes. `..` stays, as a symbolic link may stand before it.
pub(super) fn join(base: &Path, path: &Path) -> PathBuf {
    base.join(path).components().collect()
}
