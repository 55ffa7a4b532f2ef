//! [`shorten`]: the part of a file's path below the import root.

use std::path::Path;

/// The part of `filename` below the nearest folder that is not a package:
/// `/site-packages/pkg/sub/mod.py` is `pkg/sub/mod.py` where `pkg` and `sub` have an `__init__.py`.
/// `is_file` checks the target's own root. A name that is not a path, such as `<string>`, is unchanged.
pub fn shorten(filename: &str, mut is_file: impl FnMut(&Path) -> bool) -> &str {
    let mut start = filename.rfind('/').map_or(0, |slash| slash + 1);
    while let Some(folder) = filename.get(..start).map(|path| path.trim_end_matches('/'))
        && !folder.is_empty()
        && !folder.split('/').any(|part| part == "..")
        && is_file(&Path::new(folder).join("__init__.py"))
    {
        start = folder.rfind('/').map_or(0, |slash| slash + 1);
    }
    filename.get(start..).unwrap_or(filename)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_import_root_is_cut() {
        let packages = [
            "/lib/pkg/__init__.py",
            "/lib/pkg/sub/__init__.py",
            "rel/__init__.py",
        ];
        let is_file = |path: &Path| packages.iter().any(|known| path == Path::new(known));
        assert_eq!(shorten("/lib/pkg/sub/mod.py", is_file), "pkg/sub/mod.py");
        assert_eq!(shorten("/lib/pkg/mod.py", is_file), "pkg/mod.py");
        assert_eq!(shorten("/lib/mod.py", is_file), "mod.py");
        assert_eq!(shorten("mod.py", is_file), "mod.py");
        assert_eq!(shorten("rel/mod.py", is_file), "rel/mod.py");
        assert_eq!(
            shorten("<frozen importlib._bootstrap>", is_file),
            "<frozen importlib._bootstrap>"
        );
        assert_eq!(shorten("/lib/pkg/../pkg/mod.py", is_file), "mod.py");
        assert_eq!(shorten("", is_file), "");
    }

    #[test]
    fn a_path_of_packages_only_ends_at_the_root() {
        assert_eq!(shorten("/a/b/c.py", |_| true), "a/b/c.py");
        assert_eq!(shorten("//", |_| true), "");
    }
}
