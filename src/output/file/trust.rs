//! [`Us`]: which files, links and directories of other users an output file may involve.
//!
//! The kernel has such rules: `fs.protected_symlinks`, `fs.protected_regular`, `fs.protected_fifos` and
//! `fs.protected_hardlinks` (Documentation/admin-guide/sysctl/fs.rst). They can be off, so they are applied here too.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;

use nix::unistd::{Gid, Uid};

use crate::os::process::sudo::sudo_user;

const STICKY: u32 = 0o1000;
const SET_GROUP: u32 = 0o2000;
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

const ROOT: u32 = 0;

/// For whom files are written.
#[derive(Clone, Copy, Debug)]
pub struct Us {
    /// The effective user.
    pub user: Uid,
    /// The caller of sudo, if we are root.
    pub caller: Option<(Uid, Gid)>,
}

/// The owner of a new file, and its group unless the directory sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heir {
    pub user: Uid,
    pub group: Option<Gid>,
}

impl Us {
    pub fn current() -> Us {
        Us {
            user: Uid::effective(),
            // Bad variables are reported by the command.
            caller: sudo_user().ok().flatten(),
        }
    }

    fn include(&self, uid: u32) -> bool {
        uid == self.user.as_raw() || self.caller.is_some_and(|(user, _)| user.as_raw() == uid)
    }

    /// Refuses a symbolic link that another user has put into a directory like /tmp.
    ///
    /// # Errors
    /// The refusal.
    pub fn may_follow(
        &self,
        name: &OsStr,
        link: &Metadata,
        directory: &Metadata,
    ) -> io::Result<()> {
        let owner = link.uid();
        if !is_sticky(directory) || owner == self.user.as_raw() || owner == directory.uid() {
            return Ok(());
        }
        Err(refusal(format!(
            "the symbolic link '{}' belongs to user {owner}, in a directory where other users may make \
             links: it is not followed; name the file that is meant",
            name.display()
        )))
    }

    /// The user to whom the file behind a link must belong: the link's owner. `None` if it may lead anywhere,
    /// because its owner could write there as well: we are not root, or it belongs to root or to the caller
    /// of sudo.
    pub fn owner_behind(&self, link: &Metadata) -> Option<u32> {
        let is_trusted = !self.user.is_root() || link.uid() == ROOT || self.include(link.uid());
        (!is_trusted).then(|| link.uid())
    }

    /// Refuses a file or pipe that another user has put into a directory like /tmp.
    ///
    /// # Errors
    /// The refusal.
    pub fn may_write(&self, existing: &Metadata, directory: &Metadata) -> io::Result<()> {
        let owner = existing.uid();
        if !is_sticky(directory) || self.include(owner) || owner == directory.uid() {
            return Ok(());
        }
        Err(refusal(format!(
            "it belongs to user {owner}, in a directory where other users may make files; \
             remove it, or use another name"
        )))
    }

    /// Whether a file with several names (hard links) may be the file of somebody who did not want it in this
    /// directory.
    pub fn may_be_a_trap(&self, existing: &Metadata, directory: &Metadata) -> bool {
        let is_private = (directory.uid() == ROOT || self.include(directory.uid()))
            && directory.mode() & (GROUP_WRITES | OTHERS_WRITE) == 0;
        existing.nlink() > 1 && !is_private
    }

    /// Who gets the new file in a directory, if not we: the owner of the file that it replaces, or the caller of
    /// sudo. Nobody gets a file in a directory where other users may make files, or in one of a third user.
    pub fn heir(&self, replaced: Option<&Metadata>, directory: &Metadata) -> Option<Heir> {
        if !self.user.is_root() {
            return None;
        }
        let replaced = replaced
            .filter(|meta| meta.uid() != ROOT)
            .map(|meta| (Uid::from_raw(meta.uid()), Gid::from_raw(meta.gid())));
        let (user, group) = replaced.or(self.caller)?;
        let is_theirs = directory.uid() == ROOT || directory.uid() == user.as_raw();
        if !is_theirs || is_sticky(directory) || directory.mode() & OTHERS_WRITE != 0 {
            return None;
        }
        let sets_group = directory.mode() & SET_GROUP != 0;
        Some(Heir {
            user,
            group: (!sets_group).then_some(group),
        })
    }
}

/// Whether users may make files in the directory, but not remove those of others.
fn is_sticky(directory: &Metadata) -> bool {
    let mode = directory.mode();
    mode & STICKY != 0 && mode & (GROUP_WRITES | OTHERS_WRITE) != 0
}

/// Refuses an object of `actual` behind a link of `owner`.
pub fn leads_to_another_user(owner: u32, actual: u32) -> io::Error {
    refusal(format!(
        "a symbolic link of user {owner} leads to a file or directory of user {actual}: it is not followed; \
         name the file that is meant"
    ))
}

fn refusal(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}
