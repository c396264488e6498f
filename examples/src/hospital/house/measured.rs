//! How fast it went, and what it took.

use std::fmt;

use super::agreement::Flow;
use super::supervisor::Supervisor;

/// How long events took from being published to being applied.
#[derive(Debug)]
pub(super) struct Lags(Vec<(String, Vec<i64>)>);

impl Lags {
    /// Those of events that were published from then on, in milliseconds since 1970.
    pub(super) fn since(since: i64, flows: &[Flow]) -> Self {
        let lags = flows.iter().map(|flow| (flow.name(), flow.lags(since)));
        Self(lags.filter(|(_, lags)| !lags.is_empty()).collect())
    }
}

impl fmt::Display for Lags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|(name, _)| name.chars().count());
        let width = names.max().unwrap_or(0);
        let name = "lag in milliseconds";
        let width = width.max(name.len());
        let head = ["events", "p50", "p90", "p99", "max"];
        write!(f, "{name:<width$}")?;
        for cell in head {
            write!(f, "  {cell:>7}")?;
        }
        writeln!(f)?;
        for (name, lags) in &self.0 {
            write!(f, "{name:<width$}  {:>7}", lags.len())?;
            for percent in [50, 90, 99, 100] {
                write!(f, "  {:>7}", percentile(lags, percent))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// What so many percent are not above; of values in their order.
fn percentile(sorted: &[i64], percent: usize) -> i64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    let at = rank.saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}

/// How many events went through the hospital in a second: from the first that was put, to the last that was
/// applied.
pub(super) fn a_second(events: usize, since: i64, flows: &[Flow]) -> Option<f64> {
    let last = flows.iter().filter_map(Flow::last_applied).max()?;
    let seconds = (last - since) as f64 / 1_000.0;
    (seconds > 0.0).then(|| events as f64 / seconds)
}

/// The memory that each process has now, and that of all; none where the system does not tell.
pub(super) fn memory(supervisor: &Supervisor) -> Option<String> {
    let mut said = Vec::new();
    let mut sum = 0;
    let children = supervisor.pids();
    let children = children
        .iter()
        .map(|(system, pid)| (system.to_string(), *pid));
    for (name, pid) in children.chain([("console and load".to_owned(), std::process::id())]) {
        let kibibytes = resident(pid)?;
        sum += kibibytes;
        said.push(format!("{name} {} MiB", kibibytes / 1_024));
    }
    Some(format!(
        "memory: {}, all {} MiB",
        said.join(", "),
        sum / 1_024
    ))
}

/// What of a process is in memory, in KiB.
fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let sorted: Vec<i64> = (1..=200).collect();
        let of = |percent| percentile(&sorted, percent);
        assert_eq!([of(50), of(90), of(99), of(100)], [100, 180, 198, 200]);
        assert_eq!(percentile(&[7], 50), 7);
        assert_eq!(percentile(&[], 50), 0);
    }

    #[test]
    fn memory_is_told_where_there_is_proc() {
        let known = std::path::Path::new("/proc/self/status").exists();
        assert_eq!(resident(std::process::id()).is_some(), known);
    }
}
