//! [`Terminal`]: the terminal while the live view has it, and back as it was on every way out.
//!
//! Only echo, line editing and Ctrl-S (which would hold a frame, and us with it) are switched off.
//! The terminal goes on turning Ctrl-C, Ctrl-Z and Ctrl-\ into signals, so that a launched program
//! in our process group gets them as if we were not there, and goes on turning that program's
//! newlines into line ends.

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

/// How long a terminal that takes no output may hold up our end.
const PATIENCE: Duration = Duration::from_secs(1);
/// The largest screen that is drawn, and what is assumed of a terminal that does not know its size.
const MAX_SIZE: (u16, u16) = (1000, 500);
const USUAL_SIZE: (u16, u16) = (80, 24);

/// How the terminal was before, while it is ours. Statics, because a panic hook has nothing else.
static BEFORE: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);
/// Whether the alternate screen is ours. Held while anything is written to it.
static SCREEN: Mutex<bool> = Mutex::new(false);

/// What waiting for a key gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// These bytes were typed.
    Bytes(Vec<u8>),
    /// Nothing, for as long as we would wait.
    Nothing,
    /// The terminal has hung up.
    Gone,
}

/// A terminal on stdout, and its keyboard where we can have it.
#[derive(Debug)]
pub struct Terminal {
    keyboard: Option<OwnedFd>,
}

impl Terminal {
    /// Finds the terminal and leaves it as it is.
    ///
    /// # Errors
    /// `Unsupported` when stdout is no terminal, or one that cannot move its cursor.
    pub fn open() -> io::Result<Self> {
        let refuse = |why| Err(io::Error::new(io::ErrorKind::Unsupported, why));
        if !io::stdout().is_terminal() {
            return refuse("standard output is not a terminal");
        }
        if std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
            return refuse("the terminal cannot show a table (TERM=dumb)");
        }
        // Our own opening of it can be non-blocking: a launched program that shares stdin may take
        // the byte between our poll and our read.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let own = open("/dev/tty", flags, Mode::empty()).ok();
        // Without a controlling terminal, stdin may be one all the same.
        let shared = || {
            let stdin = io::stdin();
            let is_terminal = stdin.is_terminal();
            is_terminal.then(|| stdin.as_fd().try_clone_to_owned().ok())?
        };
        Ok(Self {
            keyboard: own.or_else(shared),
        })
    }

    /// Takes the terminal, or takes it again after a shell had it.
    ///
    /// # Errors
    /// The terminal's refusal.
    pub fn enter(&self) -> io::Result<()> {
        install_panic_hook();
        if let Some(keyboard) = &self.keyboard {
            let mut before = lock(&BEFORE);
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
        let mut ours = lock(&SCREEN);
        *ours = true;
        write_out(&bytes)
    }

    /// Columns and rows.
    pub fn size(&self) -> (u16, u16) {
        let (columns, rows) = window_size().map_or((0, 0), |size| (size.columns, size.rows));
        if columns == 0 || rows == 0 {
            return USUAL_SIZE;
        }
        (columns.min(MAX_SIZE.0), rows.min(MAX_SIZE.1))
    }

    /// Clears the screen and shows what `paint` draws, in one piece. Everything is drawn each time,
    /// since a launched program may have written over it. Does nothing when the screen is not ours.
    ///
    /// # Errors
    /// The terminal's refusal.
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
        let ours = lock(&SCREEN);
        if *ours { write_out(&bytes) } else { Ok(()) }
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

    /// Whether the terminal's keys and signals are for our process group. Yes where that cannot be
    /// told.
    pub fn is_foreground(&self) -> bool {
        let Some(keyboard) = &self.keyboard else {
            return true;
        };
        tcgetpgrp(keyboard).map_or(true, |group| group == getpgrp())
    }
}

/// Gives the terminal back as it was before [`Terminal::enter`]. May be called at any time, from any
/// thread, more than once.
pub fn leave() {
    if let Some((keyboard, mode)) = lock(&BEFORE).take() {
        // The screen is to be left even if this fails; there is nobody to tell.
        let _ = tcsetattr(&keyboard, SetArg::TCSANOW, &mode);
    }
    let Some(mut ours) = lock_soon(&SCREEN) else {
        return;
    };
    if std::mem::take(&mut *ours) {
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

/// Calls [`leave`] when it goes.
#[derive(Debug)]
pub struct LeaveOnDrop;

impl Drop for LeaveOnDrop {
    fn drop(&mut self) {
        leave();
    }
}

/// A panic's message would be lost with the alternate screen.
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
    if let Some(place) = mode.control_chars.get_mut(index as usize) {
        *place = value;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nobody leaves half-done work under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lock, unless its holder is stuck in a terminal that takes no output.
fn lock_soon<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    let end = Instant::now() + PATIENCE;
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

/// Writes to stdout, past Rust's line buffer, which would cut a frame into pieces.
fn write_out(mut bytes: &[u8]) -> io::Result<()> {
    let stdout = io::stdout();
    // What others printed before comes first.
    stdout.lock().flush()?;
    while !bytes.is_empty() {
        match write(&stdout, bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            // A launched program may have made the shared terminal non-blocking.
            Err(Errno::EAGAIN) => {
                let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)];
                let timeout = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::ZERO);
                // A frame that cannot be shown is lost; the next one draws everything again.
                if poll(&mut fds, timeout)? == 0 {
                    return Ok(());
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
