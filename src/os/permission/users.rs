//! Names of users, from `/etc/passwd` alone.
//!
//! `getpwuid` would also ask the services of `/etc/nsswitch.conf`: shared libraries, which a static binary
//! loads together with a second C library, whose version may be another one than it was linked with.

use std::path::Path;

use crate::os::procfs::read::read_capped;

/// What is read of `/etc/passwd`: some ten thousand users.
const MAX_PASSWD: u64 = 1 << 20;

/// The name of a user, or `user 1000` for one that `/etc/passwd` does not have.
pub fn user_name(uid: u32) -> String {
    named_in(Path::new("/etc/passwd"), uid).unwrap_or_else(|| format!("user {uid}"))
}

fn named_in(passwd: &Path, uid: u32) -> Option<String> {
    let bytes = read_capped(passwd, MAX_PASSWD).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _password, id) = (fields.next()?, fields.next()?, fields.next()?);
        let known = id.parse() == Ok(uid) && !name.is_empty();
        known.then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;

    #[test]
    fn the_first_line_with_the_number_names_the_user() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passwd");
        let lines = "root:x:0:0::/root:/bin/sh\n# 7\n\nbad\n:x:7:7:::\nalice:x:7:7:A:/:/bin/sh\nbob:x:7:7:::\n";
        std::fs::write(&file, lines).unwrap();
        assert_eq!(named_in(&file, 0).as_deref(), Some("root"));
        assert_eq!(named_in(&file, 7).as_deref(), Some("alice"));
        assert_eq!(named_in(&file, 8), None);
        assert_eq!(named_in(&folder.path().join("missing"), 0), None);
        assert_eq!(user_name(u32::MAX), "user 4294967295");
    }
}
