"""Every other library's files, in and out, with their semantics."""
