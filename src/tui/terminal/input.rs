//! [`Keys`]: decodes the bytes from a terminal into commands of the live view.
//!
//! crossterm's event reader waits forever inside an incomplete escape sequence and on a terminal that has
//! hung up; the live view must end in both cases.

use crate::tui::model::{Column, Command};

/// Decodes typed bytes. An escape sequence may be split between two reads.
#[derive(Debug, Default)]
pub struct Keys {
    state: EscapeState,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum EscapeState {
    #[default]
    Ground,
    /// After ESC.
    Escape,
    /// After `ESC [`, up to the final byte (ECMA-48, 5.4).
    Sequence,
    /// After `ESC O`: one byte more (a function key).
    Single,
}

impl Keys {
    /// The commands in the bytes of one read. Unknown keys are ignored.
    pub fn decode(&mut self, bytes: &[u8]) -> Vec<Command> {
        let mut commands: Vec<Command> = bytes.iter().filter_map(|b| self.byte(*b)).collect();
        // A terminal sends a sequence in one piece, so an ESC at the end is the key itself.
        if self.state == EscapeState::Escape {
            self.state = EscapeState::Ground;
            commands.push(Command::CloseHelp);
        }
        commands
    }

    fn byte(&mut self, byte: u8) -> Option<Command> {
        match (self.state, byte) {
            (_, 0x1b) => self.state = EscapeState::Escape,
            (EscapeState::Escape, b'[') => self.state = EscapeState::Sequence,
            (EscapeState::Escape, b'O') => self.state = EscapeState::Single,
            (EscapeState::Sequence, 0x20..=0x3f) => {}
            (EscapeState::Ground, _) => return command(byte),
            // The end of a sequence, an invalid byte, or Alt with a key.
            (EscapeState::Escape | EscapeState::Single | EscapeState::Sequence, _) => {
                self.state = EscapeState::Ground
            }
        }
        None
    }
}

fn command(byte: u8) -> Option<Command> {
    Some(match byte {
        b'1' => Command::Sort(Column::OwnPercent),
        b'2' => Command::Sort(Column::TotalPercent),
        b'3' => Command::Sort(Column::OwnTime),
        b'4' => Command::Sort(Column::TotalTime),
        b'5' => Command::Sort(Column::Kept),
        b'6' => Command::Sort(Column::Added),
        b'l' | b'L' => Command::ToggleLines,
        b'r' | b'R' => Command::Reset,
        b'?' => Command::ToggleHelp,
        b'x' | b'X' => Command::CloseHelp,
        // 3 is Ctrl-C on a terminal that does not generate a signal for it.
        b'q' | b'Q' | 0x03 => Command::Quit,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Vec<Command> {
        Keys::default().decode(bytes)
    }

    #[test]
    fn keys_are_commands() {
        let sorts = [
            Column::OwnPercent,
            Column::TotalPercent,
            Column::OwnTime,
            Column::TotalTime,
            Column::Kept,
            Column::Added,
        ];
        assert_eq!(decode(b"123456"), sorts.map(Command::Sort));
        assert_eq!(
            decode(b"lLrR"),
            [
                Command::ToggleLines,
                Command::ToggleLines,
                Command::Reset,
                Command::Reset
            ]
        );
        assert_eq!(
            decode(b"?xXqQ\x03"),
            [
                Command::ToggleHelp,
                Command::CloseHelp,
                Command::CloseHelp,
                Command::Quit,
                Command::Quit,
                Command::Quit
            ]
        );
        assert_eq!(decode("7 zé日\r\n\0\u{7f}".as_bytes()), []);
    }

    #[test]
    fn escape_sequences_are_ignored() {
        // Up, F1, Delete, a cursor report, a mouse report, Alt-q.
        assert_eq!(
            decode(b"\x1b[A\x1bOq\x1b[3~\x1b[12;1R\x1b[<0;3;4M\x1bq"),
            []
        );
        assert_eq!(decode(b"\x1b"), [Command::CloseHelp]);
        assert_eq!(decode(b"\x1b[\x1b[1;q3"), [Command::Sort(Column::OwnTime)]);
    }

    #[test]
    fn a_sequence_may_be_split() {
        let mut keys = Keys::default();
        assert_eq!(keys.decode(b"\x1b[1"), []);
        assert_eq!(keys.decode(b";2"), []);
        assert_eq!(keys.decode(b"qr"), [Command::Reset]);
    }
}
