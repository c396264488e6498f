//! What the files that the process may open allow: a connection is one of them, and one that cannot be
//! accepted cannot make room for itself.

/// How many connections there can be at once; `None` when nothing bounds them.
///
/// A quarter of the files is for databases, logs, and connections that are just being closed.
#[cfg(unix)]
pub(super) fn possible_connections() -> Option<usize> {
    let files = rlimit::Resource::NOFILE.get_soft().ok()?;
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    Some(files - files / 4)
}

#[cfg(not(unix))]
pub(super) fn possible_connections() -> Option<usize> {
    None
}
