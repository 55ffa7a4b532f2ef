//! [`Terminal`]: the terminal during the live view, restored on every exit path.
//!
//! Only echo, line editing and Ctrl-S (which would block output) are switched off. The terminal still turns
//! Ctrl-C, Ctrl-Z and Ctrl-\ into signals, so that a launched program in this process group receives them as
//! usual, and still turns that program's newlines into line ends.

use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::panic;
use std::sync::{Mutex, MutexGuard, Once, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::sys::termios::{
    InputFlags, LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};
use nix::unistd::{getpgrp, read, tcgetpgrp, write};
use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::queue;
use ratatui::crossterm::style::ResetColor;
use ratatui::crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
    LeaveAlternateScreen, window_size,
};
use ratatui::layout::Rect;

/// Longest wait for a terminal that accepts no output.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);
/// The largest screen that is drawn, and the default for a terminal that does not know its size.
const MAX_SIZE: (u16, u16) = (1000, 500);
const DEFAULT_SIZE: (u16, u16) = (80, 24);

/// The terminal's mode before [`Terminal::enter`]. A static, because a panic hook has no other state.
static SAVED_MODE: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);
/// Whether the alternate screen is active. Locked during every write to it.
static SCREEN: Mutex<bool> = Mutex::new(false);

/// Whether stdout is a terminal that can show a screen.
pub fn can_draw() -> bool {
    io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Result of [`Terminal::wait`].
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    Bytes(Vec<u8>),
    /// No key before the timeout.
    Nothing,
    /// The terminal has hung up.
    Gone,
}

/// A terminal on stdout, with its keyboard if that can be opened.
#[derive(Debug)]
pub struct Terminal {
    keyboard: Option<OwnedFd>,
}

impl Terminal {
    /// Opens the terminal without changing it.
    ///
    /// # Errors
    /// `Unsupported` if stdout is not a terminal, or cannot move its cursor.
    pub fn open() -> io::Result<Self> {
        let refuse = |why| Err(io::Error::new(io::ErrorKind::Unsupported, why));
        if !io::stdout().is_terminal() {
            return refuse("standard output is not a terminal");
        }
        if std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
            return refuse("the terminal cannot show a table (TERM=dumb)");
        }
        // A separate open file description can be non-blocking. This is needed because a launched program
        // that shares stdin may read the byte between poll and read.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let own = open("/dev/tty", flags, Mode::empty()).ok();
        // stdin may be a terminal even without a controlling terminal.
        let shared = || {
            let stdin = io::stdin();
            let is_terminal = stdin.is_terminal();
            is_terminal.then(|| stdin.as_fd().try_clone_to_owned().ok())?
        };
        Ok(Self {
            keyboard: own.or_else(shared),
        })
    }

    /// Switches to the alternate screen and to raw input, the first time or after a shell had the terminal.
    ///
    /// # Errors
    /// Those of the terminal.
    pub fn enter(&self) -> io::Result<()> {
        install_panic_hook();
        if let Some(keyboard) = &self.keyboard {
            let mut before = lock(&SAVED_MODE);
            let mut mode = match &*before {
                Some((_, mode)) => mode.clone(),
                None => tcgetattr(keyboard)?,
            };
            if before.is_none() {
                *before = Some((keyboard.try_clone()?, mode.clone()));
            }
            mode.local_flags
                .remove(LocalFlags::ICANON | LocalFlags::ECHO);
            mode.input_flags.remove(InputFlags::IXON);
            set_special(&mut mode, SpecialCharacterIndices::VMIN, 1);
            set_special(&mut mode, SpecialCharacterIndices::VTIME, 0);
            tcsetattr(keyboard, SetArg::TCSANOW, &mode)?;
        }
        let mut bytes = Vec::new();
        queue!(bytes, EnterAlternateScreen, Hide)?;
        let mut active = lock(&SCREEN);
        *active = true;
        write_out(&bytes)
    }

    /// Columns and rows.
    pub fn size(&self) -> (u16, u16) {
        let (columns, rows) = window_size().map_or((0, 0), |size| (size.columns, size.rows));
        if columns == 0 || rows == 0 {
            return DEFAULT_SIZE;
        }
        (columns.min(MAX_SIZE.0), rows.min(MAX_SIZE.1))
    }

    /// Clears the screen and draws all of it in one write, since a launched program may have overwritten it.
    /// Does nothing if the alternate screen is not active.
    ///
    /// # Errors
    /// Those of the terminal.
    pub fn draw(&self, paint: impl FnOnce(&mut Buffer)) -> io::Result<()> {
        let (width, height) = self.size();
        let blank = Buffer::empty(Rect::new(0, 0, width, height));
        let mut buffer = blank.clone();
        paint(&mut buffer);
        let mut bytes = Vec::new();
        queue!(
            bytes,
            BeginSynchronizedUpdate,
            ResetColor,
            Clear(ClearType::All)
        )?;
        CrosstermBackend::new(&mut bytes).draw(blank.diff(&buffer).into_iter())?;
        queue!(bytes, Hide, EndSynchronizedUpdate)?;
        let active = lock(&SCREEN);
        if *active { write_out(&bytes) } else { Ok(()) }
    }

    /// Waits for a key.
    pub fn wait(&self, timeout: Duration) -> Input {
        let Some(keyboard) = &self.keyboard else {
            thread::sleep(timeout);
            return Input::Nothing;
        };
        let mut fds = [PollFd::new(keyboard.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::ZERO);
        match poll(&mut fds, timeout) {
            Ok(0) | Err(Errno::EINTR) => return Input::Nothing,
            Ok(_) => {}
            Err(_) => return Input::Gone,
        }
        let mut bytes = [0; 256];
        match read(keyboard, &mut bytes) {
            Ok(0) => Input::Gone,
            Ok(length) => Input::Bytes(bytes.into_iter().take(length).collect()),
            Err(Errno::EAGAIN | Errno::EINTR) => Input::Nothing,
            Err(_) => Input::Gone,
        }
    }

    /// Whether this process group is in the foreground of the terminal. True if unknown.
    pub fn is_foreground(&self) -> bool {
        let Some(keyboard) = &self.keyboard else {
            return true;
        };
        tcgetpgrp(keyboard).map_or(true, |group| group == getpgrp())
    }
}

/// Restores the terminal as it was before [`Terminal::enter`]. May be called at any time, from any thread,
/// more than once.
pub fn leave() {
    if let Some((keyboard, mode)) = lock(&SAVED_MODE).take() {
        // An error must not prevent leaving the alternate screen.
        let _ = tcsetattr(&keyboard, SetArg::TCSANOW, &mode);
    }
    let Some(mut active) = lock_with_timeout(&SCREEN) else {
        return;
    };
    if std::mem::take(&mut *active) {
        let mut bytes = Vec::new();
        let queued = queue!(
            bytes,
            EndSynchronizedUpdate,
            ResetColor,
            Show,
            LeaveAlternateScreen
        );
        if queued.is_ok() {
            let _ = write_out(&bytes);
        }
    }
}

/// Calls [`leave`] on drop.
#[derive(Debug)]
pub struct LeaveOnDrop;

impl Drop for LeaveOnDrop {
    fn drop(&mut self) {
        leave();
    }
}

/// Leaves the alternate screen on a panic, whose message would disappear with it.
fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let next = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            leave();
            next(info);
        }));
    });
}

fn set_special(mode: &mut Termios, index: SpecialCharacterIndices, value: u8) {
    if let Some(slot) = mode.control_chars.get_mut(index as usize) {
        *slot = value;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic cannot leave inconsistent state under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lock, unless its holder is blocked in a terminal that accepts no output.
fn lock_with_timeout<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    let end = Instant::now() + WRITE_TIMEOUT;
    loop {
        match mutex.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if Instant::now() < end => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(TryLockError::WouldBlock) => return None,
        }
    }
}

/// Writes to stdout without Rust's line buffer, which would split a screen into several writes.
fn write_out(mut bytes: &[u8]) -> io::Result<()> {
    let stdout = io::stdout();
    // Output printed earlier comes first.
    stdout.lock().flush()?;
    while !bytes.is_empty() {
        match write(&stdout, bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            // A launched program may have made the shared terminal non-blocking.
            Err(Errno::EAGAIN) => {
                let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)];
                let timeout = PollTimeout::try_from(WRITE_TIMEOUT).unwrap_or(PollTimeout::ZERO);
                // This screen is lost; the next one draws everything again.
                if poll(&mut fds, timeout)? == 0 {
                    return Ok(());
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
