//! A terminal for a program under test: tmux, driven by what is on its screen.

use std::process::{Command, Stdio};

use super::require::skip;
use super::wait_until;

/// A terminal of 100 columns and 30 lines with a shell in it; gone when dropped.
pub struct Terminal {
    socket: String,
}

impl Terminal {
    /// A new one; None where there is no tmux.
    ///
    /// # Panics
    /// If tmux does not start.
    pub fn open(name: &str) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            skip("tmux", format_args!("{name}: there is no tmux"));
            return None;
        }
        let terminal = Self {
            socket: format!("pyspy-rs-{name}-{}", std::process::id()),
        };
        // No configuration of the user's, and a shell that shows nothing but its prompt.
        let shell = [
            "env",
            "-i",
            "TERM=screen",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "PS1=$ ",
            "sh",
        ];
        let mut new = vec!["new-session", "-d", "-x", "100", "-y", "30", "-s", "main"];
        new.extend(shell);
        terminal.tmux(&new);
        terminal.wait_for("the prompt", |screen| screen.starts_with('$'));
        Some(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .args(["-f", "/dev/null", "-L", &self.socket])
            .args(arguments)
            .stdin(Stdio::null())
            .env_remove("TMUX")
            .output()
            .expect("tmux runs");
        assert!(
            output.status.success(),
            "tmux {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Types text and Enter.
    pub fn run(&self, line: &str) {
        self.tmux(&["send-keys", "-t", "main", "-l", line]);
        self.key("Enter");
    }

    /// Presses a key, by tmux's name for it.
    pub fn key(&self, key: &str) {
        self.tmux(&["send-keys", "-t", "main", key]);
    }

    /// What is on the screen.
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-t", "main"])
    }

    /// Whether a program shows itself on the alternate screen, and whether the cursor is hidden.
    pub fn modes(&self) -> (bool, bool) {
        let flags = self.tmux(&[
            "display-message",
            "-p",
            "-t",
            "main",
            "#{alternate_on} #{cursor_flag}",
        ]);
        (flags.starts_with('1'), flags.trim_end().ends_with('0'))
    }

    /// Polls until the screen is so, and returns it.
    ///
    /// # Panics
    /// When that never comes, with the last screen.
    pub fn wait_for(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let mut screen = String::new();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until(what, || {
                screen = self.screen();
                is_so(&screen)
            });
        }));
        assert!(result.is_ok(), "the screen never shows {what}:\n{screen}");
        screen
    }

    /// The terminal's settings, as `stty -a` prints them.
    pub fn settings(&self, mark: &str) -> String {
        // The mark is put together by the shell, so that the typed line is not taken for the output.
        self.run(&format!("clear; stty -a; echo '<'{mark}'>'"));
        let end = format!("<{mark}>");
        let screen = self.wait_for("the settings", |screen| screen.contains(&end));
        let settings = screen.split_once("speed").expect("stty's output").1;
        settings.split_once(&end).expect("the mark").0.to_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux")
            .args(["-L", &self.socket, "kill-server"])
            .output();
    }
}
