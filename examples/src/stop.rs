#[cfg(unix)]
use std::task::Poll;

/// Ends when the program is asked to end: Ctrl-C, SIGTERM, or SIGHUP, when its terminal is closed, unless `nohup`
/// has it pass over that. It counts from the call on, not only once the future is awaited.
pub fn stopped() -> impl Future<Output = ()> + Send + 'static {
    #[cfg(unix)]
    let mut signals = {
        use tokio::signal::unix::{SignalKind, signal};

        let mut kinds = vec![SignalKind::terminate(), SignalKind::interrupt()];
        if !passes_over_hangup() {
            kinds.push(SignalKind::hangup());
        }
        let signals = kinds.into_iter().map(signal);
        signals.collect::<Result<Vec<_>, _>>().ok()
    };
    async move {
        #[cfg(unix)]
        if let Some(signals) = &mut signals {
            let heard = std::future::poll_fn(|context| {
                let mut heard = signals.iter_mut().map(|signal| signal.poll_recv(context));
                match heard.any(|heard| heard.is_ready()) {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }
            });
            return heard.await;
        }
        // Where there are no such signals.
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// Whether whoever has started this program has it pass over SIGHUP, as Linux tells it.
#[cfg(unix)]
fn passes_over_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Its number is 1, and its bit the first.
    ignored.is_some_and(|mask| mask & 1 == 1)
}
