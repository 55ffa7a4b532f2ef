//! How an interpreter was built, as far as its file tells.

use super::process::PythonProcess;
use crate::os::elf::ElfFile;
use crate::os::procfs::maps::{Image, images};

impl PythonProcess {
    /// Whether it is a debug build (`Py_DEBUG`, or `Py_REF_DEBUG` alone): these have a function that
    /// complains of negative reference counts (Include/object.h, from 3.14 on Include/refcount.h).
    /// `None` where the file exports no names, or cannot be read.
    pub fn is_debug_build(&self) -> Option<bool> {
        let image = self.image()?;
        let file = self.target().open_mapped(image.base()?).ok()?;
        let names = ["_Py_NegativeRefcount", "Py_GetVersion"];
        match ElfFile::open(file).ok()?.symbols(&names).ok()?.as_slice() {
            [Some(_), _] => Some(true),
            [None, Some(_)] => Some(false),
            // Stripped of all names: both kinds look the same.
            _ => None,
        }
    }

    /// The file that holds the interpreter, as it is mapped; `None` when it is gone.
    pub fn image(&self) -> Option<Image> {
        let mappings = self.target().maps().ok()?;
        let mut images = images(&mappings).into_iter();
        images.find(|image| image.path.display().to_string() == self.found().image)
    }
}
