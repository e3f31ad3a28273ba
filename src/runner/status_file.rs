//! The page for people that holds the newest update. It is written beside the run: a file system that hangs holds up
//! nobody.

use std::path::{Path, PathBuf};
use std::sync::mpsc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::planted::{self, Bug};

/// A page to be written, and the notice that it is.
struct Page {
    number: u32,
    file: PathBuf,
    text: String,
}

/// What became of the page of a notice.
pub struct Written {
    pub number: u32,
    pub why_not: Option<String>,
}

/// Writes the pages in their order. It is never waited for.
pub struct StatusFile {
    /// Its thread starts with the first page.
    pages: Option<mpsc::Sender<Page>>,
    report: UnboundedSender<Written>,
}

impl StatusFile {
    pub fn new() -> (Self, UnboundedReceiver<Written>) {
        let (report, reports) = unbounded_channel();
        (Self { pages: None, report }, reports)
    }

    pub fn write(&mut self, number: u32, file: &Path, text: String) {
        let report = self.report.clone();
        let pages = self.pages.get_or_insert_with(|| {
            let (pages, waiting) = mpsc::channel::<Page>();
            std::thread::spawn(move || write_all(&waiting, &report));
            pages
        });
        if pages.send(Page { number, file: file.to_owned(), text }).is_err() {
            let why_not = Some("a fault of this program; please report it".to_owned());
            // Nobody needs to listen.
            let _ = self.report.send(Written { number, why_not });
        }
    }
}

fn write_all(waiting: &mpsc::Receiver<Page>, report: &UnboundedSender<Written>) {
    while let Ok(Page { number, file, text }) = waiting.recv() {
        let written = write_whole(&file, text.as_bytes());
        let why_not = written.err().map(|error| format!("{}: {error}", file.display()));
        let why_not = why_not.filter(|_| !planted::is(Bug::SilentStatusFile));
        if report.send(Written { number, why_not }).is_err() {
            return;
        }
    }
}

/// Whoever reads the file finds the old page or the new one, never half of one.
fn write_whole(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = file.with_file_name(name);
    let written = std::fs::write(&new, bytes).and_then(|()| std::fs::rename(&new, file));
    written.inspect_err(|_| _ = std::fs::remove_file(&new))
}
