/// Ends when the program is asked to end: Ctrl-C, or SIGTERM. It counts from the call on, not only
/// once the future is awaited.
pub fn stopped() -> impl Future<Output = ()> + Send + 'static {
    #[cfg(unix)]
    let mut terminated = {
        use tokio::signal::unix::{SignalKind, signal};

        [SignalKind::terminate(), SignalKind::interrupt()].map(|kind| signal(kind).ok())
    };
    async move {
        #[cfg(unix)]
        if let [Some(terminated), Some(interrupted)] = &mut terminated {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
            return;
        }
        // Where there are no such signals.
        let _ = tokio::signal::ctrl_c().await;
    }
}
