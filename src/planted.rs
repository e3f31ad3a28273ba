//! Bugs kept on purpose, to prove that the suite would see them: `scripts/planted` plants one after another and expects a
//! failed test each time.
//!
//! Without the feature `planted-bugs`, which no default turns on, [`is`] is a constant `false` and the compiler leaves
//! nothing of this in the program. With it, the variable `RUNBOOK_PLANTED_BUG` names the one bug that a process has. That
//! variable is read here alone; the core, which else reads no environment, asks this module and nobody else. A program
//! with the feature is no product, so the rule loses nothing.
//!
//! A bug stands where a person could have made it, as one condition more. The table in `scripts/planted` says which tests
//! catch it; `tests/house/planted.rs` says that none is missing there.

macro_rules! bugs {
    ($($(#[$doc:meta])+ $bug:ident = $name:literal,)+) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Bug {
            $($(#[$doc])+ $bug,)+
        }

        #[cfg(feature = "planted-bugs")]
        impl Bug {
            fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$bug),)+
                    _ => None,
                }
            }
        }
    };
}

// Each says which promise it breaks.
bugs! {
    // ---- the journal
    /// What was acknowledged is not on disk.
    SkipSync = "skip-sync",
    /// A failed sync is tried again, and the kernel calls the lost page clean.
    RetrySync = "retry-sync",
    /// The journal's bytes are on disk, its name is not.
    SkipFolderSync = "skip-folder-sync",
    /// A line that was put in the place of another is taken.
    AnyPrev = "any-prev",
    /// A line with a changed bit is taken.
    AnySum = "any-sum",
    /// Two processes that wrote one journal are not noticed.
    AnyEpoch = "any-epoch",
    /// A tail that was cut off is not told of.
    SilentTornTail = "silent-torn-tail",
    /// Two processes drive one run.
    NoWriterLock = "no-writer-lock",
    /// The outcomes of what runs are lost on a full disk.
    KeepReserve = "keep-reserve",

    // ---- the engine
    /// What was once in doubt counts as never begun after a later failure, and a rollback leaves it out.
    DropDirtyRule = "drop-dirty-rule",
    /// A step that may have taken effect, and may not be repeated, is repeated.
    RepeatInDoubt = "repeat-in-doubt",
    /// What was built on a step is taken back after the step itself.
    UndoForward = "undo-forward",
    /// An undo of which nobody knows how it ended is made again.
    RepeatLostUndo = "repeat-lost-undo",
    /// What was lost on another host is done again although its host says that it runs.
    RepeatFound = "repeat-found",
    /// A check that does not see an effect yet lets an attempt be made beside one that may still run on its host.
    BelieveEarlyNo = "believe-early-no",
    /// The next attempt is made beside a remedy that may still run on its host.
    RemedyBeside = "remedy-beside",
    /// What was done is taken back beside an attempt that may still run on its host.
    UndoBeside = "undo-beside",
    /// The alternatives start over although a host still takes back what the one before did.
    ForgetFoundUndo = "forget-found-undo",
    /// One more command at once than the playbook allows.
    OneTooMany = "one-too-many",
    /// What a person called done counts as done although `verify` was not asked.
    TrustDone = "trust-done",
    /// The resume of a rollback goes on with the run.
    ResumeRollbackAsRun = "resume-rollback-as-run",
    /// A destructive command that was cut off counts as one that did nothing.
    TimeoutIsFailure = "timeout-is-failure",
    /// A step that was once in doubt is edited as if nothing were there.
    EditInDoubt = "edit-in-doubt",
    /// A step that was carried out in another form is built upon, and nobody is asked.
    EditUnseen = "edit-unseen",
    /// One item fewer than are needed is enough.
    QuorumOneShort = "quorum-one-short",
    /// One more item of a `foreach` at once than it allows.
    OneItemTooMany = "one-item-too-many",
    /// A resume does the items again that are done.
    RepeatDoneItems = "repeat-done-items",

    // ---- people
    /// An action starts although nobody agreed.
    ForgetApproval = "forget-approval",
    /// Somebody who is not asked agrees.
    AnyoneApproves = "anyone-approves",
    /// Anybody may answer for a role that nobody holds.
    EmptyRole = "empty-role",
    /// One person agrees for two.
    AgreeTwice = "agree-twice",
    /// Whoever is to be called when the RTO will be missed is called when it has passed.
    LateBreach = "late-breach",

    // ---- word to the outside
    /// A process that goes on with a run raises the levels that were raised.
    LevelsAgain = "levels-again",
    /// The same with the word that somebody has it in hand.
    AcknowledgeAgain = "acknowledge-again",
    /// More people are called although somebody has it in hand.
    EscalateInHand = "escalate-in-hand",
    /// A notice that did not arrive leaves no record.
    SilentFailure = "silent-failure",
    /// A page for people that cannot be written is passed over.
    SilentStatusFile = "silent-status-file",
    /// A notice says what came after it, as if it had been known.
    WordsOfTheEnd = "words-of-the-end",
    /// The next notice overtakes the one before.
    NoticeOvertakes = "notice-overtakes",
    /// A receiver that asks for time gets none.
    IgnoreRetryAfter = "ignore-retry-after",
    /// What hung together with the run's alert is an alert of its own.
    AlertPerNotice = "alert-per-notice",
    /// The time, which a receiver checks, is not in the signature.
    SignWithoutTime = "sign-without-time",
    /// A secret that a command printed goes outside in a notice.
    BareNotice = "bare-notice",
    /// What was still on its way when the process left counts as surely not delivered.
    SureOfTheLast = "sure-of-the-last",
    /// A word about a torn tail opens a run that is over.
    TailReopens = "tail-reopens",

    // ---- commands
    /// Whoever has the pid is taken for the process that had it.
    AnyStartTime = "any-start-time",
    /// A pid of another boot is believed.
    AnyBoot = "any-boot",
    /// A command that the keeper was about to start counts as never started.
    NoIntentNote = "no-intent-note",
    /// What was only made ready starts before its record is on disk.
    StartReady = "start-ready",
    /// What is made ready early starts another program than PATH leads to when it starts.
    StalePath = "stale-path",
    /// How a command ended is lost with the runner.
    NoExitNote = "no-exit-note",
    /// The first line of the notes, which proves that a keeper came, is not on disk.
    UnsyncedNotes = "unsynced-notes",
    /// Somebody is asked whether a command took effect while it still runs.
    ForgetOrphan = "forget-orphan",
    /// A timeout leaves behind what left the process group.
    KillGroupOnly = "kill-group-only",
    /// What had ended by itself is told as ended by a person.
    StopAfterEnd = "stop-after-end",
    /// A secret that comes in two pieces is shown.
    MaskEachChunk = "mask-each-chunk",

    // ---- the run
    /// A command runs whose start is not in the journal.
    ActBeforeSync = "act-before-sync",
    /// Two runs with one key.
    ShareKey = "share-key",
    /// The same, while the first is slow to begin.
    DropKeyEarly = "drop-key-early",
    /// A resume carries out a changed plan.
    AnyPlan = "any-plan",
}

/// Whether this process has the bug.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub(crate) const fn is(_: Bug) -> bool {
    false
}

/// Whether this process has the bug. A name that means nothing ends the process: a bug that is not there would else
/// look like one that nobody saw.
#[cfg(feature = "planted-bugs")]
pub(crate) fn is(bug: Bug) -> bool {
    static PLANTED: std::sync::OnceLock<Option<Bug>> = std::sync::OnceLock::new();
    let planted = PLANTED.get_or_init(|| {
        let name = std::env::var("RUNBOOK_PLANTED_BUG").unwrap_or_default();
        match Bug::named(&name) {
            None if !name.is_empty() => {
                eprintln!("RUNBOOK_PLANTED_BUG: there is no bug {name:?}");
                std::process::abort();
            }
            bug => bug,
        }
    });
    *planted == Some(bug)
}
