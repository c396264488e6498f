/// How many connections there can be, of so many wanted, with the files that the process may open. A
/// connection that cannot be accepted cannot make room for itself.
#[cfg(unix)]
pub(super) fn bound(wanted: usize) -> usize {
    let Ok(files) = rlimit::Resource::NOFILE.get_soft() else {
        return wanted;
    };
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    // The rest is for databases, logs, and connections that are just being closed.
    let possible = files - files / 4;
    if possible < wanted {
        tracing::warn!(
            wanted,
            possible,
            "the process may open {files} files, which bounds the connections; raise its limit \
             (RLIMIT_NOFILE), or lower that of the server"
        );
    }
    wanted.min(possible)
}

#[cfg(not(unix))]
pub(super) fn bound(wanted: usize) -> usize {
    wanted
}
