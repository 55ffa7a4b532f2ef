//! [`sudo_user`]: the user for whom sudo runs us.

use nix::unistd::{Gid, Uid};

/// The user and group of the caller of sudo, from the variables set by sudo.
pub fn sudo_user() -> Option<(Uid, Gid)> {
    parse(|name| std::env::var(name).ok())
}

fn parse(variable: impl Fn(&str) -> Option<String>) -> Option<(Uid, Gid)> {
    let uid = variable("SUDO_UID")?.parse().ok()?;
    let gid = variable("SUDO_GID")?.parse().ok()?;
    Some((Uid::from_raw(uid), Gid::from_raw(gid)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ids_are_required() {
        let with = |uid: Option<&'static str>, gid: Option<&'static str>| {
            parse(move |name| (if name == "SUDO_UID" { uid } else { gid }).map(str::to_owned))
        };
        let expected = (Uid::from_raw(1000), Gid::from_raw(1001));
        assert_eq!(with(Some("1000"), Some("1001")), Some(expected));
        assert_eq!(with(Some("1000"), None), None);
        assert_eq!(with(Some("-1"), Some("0")), None);
        assert_eq!(with(Some("root"), Some("0")), None);
    }
}
