//! [`Mounts`]: the mounted file systems that a process sees, and which of them may not answer.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::read::read_capped;
use crate::os::Pid;

/// Cap on the file, in bytes. A host with 10,000 containers has 30,000 mounts of some 200 bytes.
const MAX_BYTES: u64 = 8 << 20;
/// Cap on the lower directories of one overlay: the kernel accepts 500 (fs/overlayfs/params.c, v6.12).
const MAX_LAYERS: usize = 512;

/// File systems that are served over a network, by a process, by a host, or on demand: an access waits for
/// somebody else, perhaps for ever. FUSE has names such as `fuse.sshfs`.
const SERVED: [&str; 34] = [
    "9p",
    "acfs",
    "afs",
    "autofs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "cvmfs",
    "davfs",
    "fhgfs",
    "fuse",
    "fuseblk",
    "gfs2",
    "glusterfs",
    "gpfs",
    "kafs",
    "lustre",
    "mmfs",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "orangefs",
    "panfs",
    "prl_fs",
    "pvfs2",
    "quobyte",
    "smb3",
    "smbfs",
    "vboxsf",
    "virtiofs",
    "vmhgfs",
    "wekafs",
];

/// One line of `/proc/PID/mountinfo`, as far as it is used here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The device of the file system, as (major, minor).
    pub dev: (u64, u64),
    /// Where it is mounted, below the root of the process.
    pub mount_point: PathBuf,
    /// Such as `ext4` or `fuse.sshfs`.
    pub fs_type: String,
    /// The options of the file system, as the kernel writes them.
    options: Vec<u8>,
}

impl Mount {
    fn is_served(&self) -> bool {
        let kind = self.fs_type.as_str();
        // systemd waits behind this one on nearly every machine, with a timeout, and no code is below it.
        if kind == "autofs" && self.mount_point == Path::new("/proc/sys/fs/binfmt_misc") {
            return false;
        }
        // An erofs whose data is fetched on demand (fscache) names its domain or blob.
        let is_lazy = || kind == "erofs" && self.option("fsid").is_some();
        kind.starts_with("fuse.") || SERVED.contains(&kind) || is_lazy()
    }

    fn option(&self, name: &str) -> Option<&[u8]> {
        let mut options = split_escaped(&self.options, b',');
        options.find_map(|option| {
            option
                .strip_prefix(name.as_bytes())
                .and_then(|rest| rest.strip_prefix(b"="))
        })
    }

    /// The directories that an overlay consists of, as far as their names are absolute.
    fn layers(&self) -> impl Iterator<Item = PathBuf> {
        let names = ["lowerdir", "lowerdir+", "datadir+", "upperdir"];
        let options = names.into_iter().filter_map(|name| self.option(name));
        // Several are joined by ":", those of data only by "::".
        let parts = options.flat_map(|option| split_escaped(option, b':'));
        parts
            .filter(|part| part.starts_with(b"/"))
            .take(MAX_LAYERS)
            .map(|part| PathBuf::from(OsString::from_vec(without_backslashes(part))))
    }
}

/// The mounts that a process sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts(Vec<Mount>);

impl Mounts {
    /// Those of a process. Takes the lock of the mount namespace, not that of any file system.
    ///
    /// # Errors
    /// `NotFound` when there is no such process.
    pub fn of(pid: Pid) -> io::Result<Mounts> {
        let bytes = read_capped(format!("/proc/{pid}/mountinfo"), MAX_BYTES)?;
        Ok(Mounts::parse(&bytes))
    }

    /// Parses a `mountinfo` file; lines that are not as documented are left out.
    pub fn parse(bytes: &[u8]) -> Mounts {
        let lines = bytes.split(|&byte| byte == b'\n');
        Mounts(lines.filter_map(parse_line).collect())
    }

    /// Adds those of another view. An overlay may consist of directories that only the host sees.
    pub fn extend(&mut self, other: Mounts) {
        self.0.extend(other.0);
    }

    /// Whether any may not answer, apart from overlays of others.
    pub fn is_any_served(&self) -> bool {
        self.0.iter().any(Mount::is_served)
    }

    /// The devices whose files may not answer, each with the type of its file system: that of a layer for
    /// an overlay with such a layer.
    pub fn suspects(&self) -> Vec<((u64, u64), String)> {
        let mut found: Vec<((u64, u64), String)> = Vec::new();
        if !self.is_any_served() {
            return found;
        }
        for mount in &self.0 {
            let kind = if mount.is_served() {
                Some(mount.fs_type.as_str())
            } else if mount.fs_type == "overlay" {
                self.served_layer(mount)
            } else {
                None
            };
            if let Some(kind) = kind
                && !found.iter().any(|(dev, _)| *dev == mount.dev)
            {
                found.push((mount.dev, kind.to_owned()));
            }
        }
        found
    }

    /// The mount point above a path if its file system may not answer, by the path's name alone.
    pub fn suspect_above(&self, path: &Path) -> Option<&Path> {
        let mount = self.holder_of(path)?;
        let is_suspect =
            mount.is_served() || mount.fs_type == "overlay" && self.served_layer(mount).is_some();
        is_suspect.then_some(mount.mount_point.as_path())
    }

    fn served_layer(&self, overlay: &Mount) -> Option<&str> {
        // First the few mounts that are served: a host can have 10,000 overlays of ten layers each.
        let may_be_served = |layer: &PathBuf| {
            let mut served = self.0.iter().filter(|mount| mount.is_served());
            served.any(|mount| layer.starts_with(&mount.mount_point))
        };
        overlay
            .layers()
            .filter(may_be_served)
            .filter_map(|layer| self.holder_of(&layer))
            .find(|mount| mount.is_served())
            .map(|mount| mount.fs_type.as_str())
    }

    /// The mount with the longest mount point above a path, the last one of several: it covers the others.
    fn holder_of(&self, path: &Path) -> Option<&Mount> {
        let above = self
            .0
            .iter()
            .filter(|one| path.starts_with(&one.mount_point));
        above.max_by_key(|one| one.mount_point.as_os_str().len())
    }
}

/// Parses a line such as
/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
/// (proc_pid_mountinfo(5)): the number of optional fields before the hyphen varies.
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let dev = std::str::from_utf8(fields.nth(2)?).ok()?;
    let (major, minor) = dev.split_once(':')?;
    let mount_point = fields.nth(1)?;
    fields.find(|field| *field == b"-")?;
    let fs_type = fields.next()?;
    let options = fields.nth(1).unwrap_or_default();
    Some(Mount {
        dev: (major.parse().ok()?, minor.parse().ok()?),
        mount_point: PathBuf::from(OsString::from_vec(without_octal(mount_point))),
        fs_type: String::from_utf8_lossy(fs_type).into_owned(),
        options: without_octal(options),
    })
}

/// Replaces `\040` and the like, by which the kernel writes spaces, tabs, newlines and backslashes.
fn without_octal(text: &[u8]) -> Vec<u8> {
    let mut found = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| byte == b'\\');
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                found.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                found.push(byte);
                rest = after;
            }
        }
    }
    found
}

/// Splits at a byte that is not after a backslash: so overlayfs writes it as part of a name.
fn split_escaped(text: &[u8], at: u8) -> impl Iterator<Item = &[u8]> {
    let mut escaped = false;
    text.split(move |&byte| {
        let ends = byte == at && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

fn without_backslashes(text: &[u8]) -> Vec<u8> {
    let mut found = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        found.extend(if byte == b'\\' {
            bytes.next()
        } else {
            Some(byte)
        });
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;

    const HOST: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
23 22 0:22 / /proc/sys/fs/binfmt_misc rw shared:3 - autofs systemd-1 rw,fd=29
27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard
40 27 0:45 / /home/a\\040b/remote rw,nosuid - fuse.sshfs host:/srv rw,user_id=0
41 27 0:46 / /srv/data rw - nfs4 10.0.0.1:/x rw,vers=4.2
42 27 0:47 / /var/lib/stargz/snapshots/7/fs ro - fuse.rawBridge stargz ro
43 27 0:48 / /run/c1 rw - overlay overlay rw,lowerdir=/var/lib/docker/l/A:/var/lib/stargz/snapshots/7/fs,upperdir=/var/u,workdir=/var/w
44 27 0:49 / /run/c2 rw - overlay overlay rw,lowerdir=/var/lib/docker/l/A:l/B,upperdir=/var/u2,workdir=/var/w
45 27 0:50 / /run/c3 rw - overlay overlay rw,lowerdir=/a\\134:b:/x,upperdir=/srv/data/u,workdir=/var/w
46 27 0:51 / /run/c4 ro - erofs none ro,fsid=abc
47 27 254:1 / /run/c5 ro - erofs /dev/vdb ro
garbage
48 27 x:1 / /bad rw - nfs a rw
49 27 0:52 / /bad rw - ";

    #[test]
    fn served_file_systems_and_overlays_of_them_are_suspects() {
        let mounts = Mounts::parse(HOST.as_bytes());
        let found = mounts.suspects();
        let kinds: Vec<(u64, &str)> = found
            .iter()
            .map(|((_, minor), kind)| (*minor, kind.as_str()))
            .collect();
        assert_eq!(
            kinds,
            [
                (45, "fuse.sshfs"),
                (46, "nfs4"),
                (47, "fuse.rawBridge"),
                (48, "fuse.rawBridge"),
                (50, "nfs4"),
                (51, "erofs"),
            ]
        );
        assert!(mounts.is_any_served());
        let ordinary = HOST
            .lines()
            .filter(|line| line.contains(" overlay ") || line.contains(" ext4 "));
        let ordinary = Mounts::parse(ordinary.collect::<Vec<_>>().join("\n").as_bytes());
        assert!(!ordinary.is_any_served() && ordinary.suspects().is_empty());
    }

    #[test]
    fn names_are_decoded() {
        let mounts = Mounts::parse(HOST.as_bytes());
        let remote = mounts
            .holder_of(Path::new("/home/a b/remote/x.py"))
            .unwrap();
        assert_eq!(remote.fs_type, "fuse.sshfs");
        assert_eq!(
            mounts.holder_of(Path::new("/home/a")).unwrap().fs_type,
            "ext4"
        );
        let layers = |point: &str| -> Vec<PathBuf> {
            let mount = mounts.holder_of(Path::new(point)).unwrap();
            mount.layers().collect()
        };
        assert_eq!(
            layers("/run/c3"),
            ["/a:b", "/x", "/srv/data/u"].map(PathBuf::from)
        );
        assert_eq!(
            layers("/run/c2"),
            ["/var/lib/docker/l/A", "/var/u2"].map(PathBuf::from)
        );
        let above = |path| mounts.suspect_above(Path::new(path));
        assert_eq!(above("/srv/data/x/y.py"), Some(Path::new("/srv/data")));
        assert_eq!(above("/run/c1/usr/x.py"), Some(Path::new("/run/c1")));
        assert_eq!((above("/run/c2/x.py"), above("x.py")), (None, None));
        assert_eq!(without_octal(b"a\\040b\\9\\04"), b"a b\\9\\04");
    }

    #[test]
    fn our_own_mounts_are_read() {
        let own = std::process::id().cast_signed();
        let mounts = Mounts::of(own).unwrap();
        assert!(mounts.holder_of(Path::new("/proc/self")).unwrap().fs_type == "proc");
        assert!(Mounts::of(0).is_err());
    }
}
