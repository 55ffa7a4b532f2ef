//! [`PythonVersion`]: from `Py_Version`, a debug-offsets table or a version string.
