//! Whose rights we have: [`sudo_user`], the user for whom sudo runs us, and [`has_lent_ids`].

use nix::unistd::{Gid, Uid};

/// The variables set by sudo are not the ids of a user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("SUDO_UID and SUDO_GID are not the ids of a user")]
pub struct BadSudo;

/// The user and group of the caller of sudo, from the variables set by sudo; `None` without sudo, or if we
/// are not root.
///
/// # Errors
/// When the variables are incomplete, or no ids.
pub fn sudo_user() -> Result<Option<(Uid, Gid)>, BadSudo> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    parse(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
}

fn parse(variable: impl Fn(&str) -> Option<String>) -> Result<Option<(Uid, Gid)>, BadSudo> {
    let id = |text: String| match text.parse::<u32>() {
        // The kernel takes -1 as "no change" (setresuid(2), chown(2)).
        Ok(u32::MAX) | Err(_) => Err(BadSudo),
        // Also "+7", which sudo does not write.
        Ok(_) if !text.bytes().all(|byte| byte.is_ascii_digit()) => Err(BadSudo),
        Ok(id) => Ok(id),
    };
    match (variable("SUDO_UID"), variable("SUDO_GID")) {
        (None, None) => Ok(None),
        (Some(uid), Some(gid)) => Ok(Some((Uid::from_raw(id(uid)?), Gid::from_raw(id(gid)?)))),
        _ => Err(BadSudo),
    }
}

/// Whether our file lends us the ids of its owner or group (setuid, setgid): whoever runs us could read
/// what only that user may. File capabilities change no ids, and whoever sets them has said what for.
pub fn has_lent_ids() -> bool {
    Uid::current() != Uid::effective() || Gid::current() != Gid::effective()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ids_or_none_are_required() {
        let with = |uid: Option<&'static str>, gid: Option<&'static str>| {
            parse(move |name| (if name == "SUDO_UID" { uid } else { gid }).map(str::to_owned))
        };
        let user = (Uid::from_raw(1000), Gid::from_raw(1001));
        assert_eq!(with(Some("1000"), Some("1001")), Ok(Some(user)));
        assert_eq!(with(None, None), Ok(None));
        for (uid, gid) in [
            (Some("1000"), None),
            (None, Some("1000")),
            (Some("-1"), Some("0")),
            (Some("root"), Some("0")),
            (Some("1000"), Some("")),
            (Some(""), Some("")),
            (Some("4294967295"), Some("0")),
            (Some("1000"), Some("4294967296")),
            (Some("+1"), Some("1")),
            (Some(" 1"), Some("1")),
        ] {
            assert_eq!(with(uid, gid), Err(BadSudo), "{uid:?} {gid:?}");
        }
    }
}
