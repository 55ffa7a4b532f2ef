//! [`Root`]: the process that a sampler starts from.

use python_offsets::PythonVersion;

use crate::cpython::attach::error::AttachError;
use crate::cpython::process::PythonProcess;
use crate::os::Pid;
use crate::os::deadline::Deadline;
use crate::os::process::TargetProcess;
use crate::os::work_budget::{ATTACH, EXAMINE, WorkBudget};

/// The process that the user gave.
pub enum Root {
    /// It runs Python.
    Python(Box<PythonProcess>),
    /// A descendant of it runs Python: for example a shell script that starts Python.
    Other {
        /// The process.
        target: TargetProcess,
        /// The version of the first Python below it.
        version: PythonVersion,
    },
}

impl From<PythonProcess> for Root {
    fn from(process: PythonProcess) -> Root {
        Root::Python(Box::new(process))
    }
}

impl Root {
    /// Attaches to a process or, with `subprocesses`, to the tree below it if that includes a Python.
    ///
    /// # Errors
    /// As [`PythonProcess::attach`], also when the deadline is over.
    pub fn attach(pid: Pid, subprocesses: bool, deadline: Deadline) -> Result<Root, AttachError> {
        let budget = WorkBudget::within_and_by(ATTACH, deadline);
        match PythonProcess::attach_within(pid, &budget) {
            Ok(process) => Ok(process.into()),
            Err(error) if subprocesses && error.may_become_python() => {
                let target =
                    TargetProcess::open(pid).map_err(|error| AttachError::from_open(pid, error))?;
                match python_below(&target, deadline) {
                    Some(child) => Ok(Root::Other {
                        target,
                        version: child.version(),
                    }),
                    None => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// The process on the level of the OS.
    pub fn target(&self) -> &TargetProcess {
        match self {
            Root::Python(process) => process.target(),
            Root::Other { target, .. } => target,
        }
    }

    /// The process id.
    pub fn pid(&self) -> Pid {
        self.target().pid()
    }

    /// Its Python's version, or that of the first one below it.
    pub fn version(&self) -> PythonVersion {
        match self {
            Root::Python(process) => process.version(),
            Root::Other { version, .. } => *version,
        }
    }
}

/// The first Python below a process that is not a Python, if it is found before the deadline.
pub(crate) fn python_below(target: &TargetProcess, deadline: Deadline) -> Option<PythonProcess> {
    let children = target.children().into_iter();
    children
        .take_while(|_| !deadline.is_over())
        .find_map(|child| {
            let budget = WorkBudget::within_and_by(EXAMINE, deadline);
            PythonProcess::attach_within(child.pid, &budget).ok()
        })
}
