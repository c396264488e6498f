use std::fmt;
use std::time::Duration;

use anyhow::{Context, bail};
use atomfeed_client::Schedule;
use atomfeed_core::store::TableZone;

use super::config::{FeedsConfig, Job};
use super::file::Unused;
use super::names;
use super::quartz::{self, QuartzJob, RowsOf, TABLE};

/// Why nobody goes by a row of what is parked.
const TRIES_AGAIN: &str =
    "what is parked is tried again after each reading, and takes its own time";

/// What the command line says of when feeds are read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// Only these jobs, if any are named (`--only`).
    pub only: &'a [String],
    /// The schedule of jobs of which nothing else says one (`--cron`).
    pub cron: Option<&'a Schedule>,
    /// The zone of schedules (`--time-zone`); else the machine's.
    pub zone: Option<TableZone>,
    /// Each is read once (`--once`).
    pub once: bool,
}

/// A job, and when it is done. It is shown as a line.
#[derive(Debug, Clone)]
pub struct PlannedJob {
    /// The job.
    pub job: Job,
    /// When it is done.
    pub when: When,
}

/// When a feed is read.
#[derive(Debug, Clone)]
pub enum When {
    /// By a schedule.
    Scheduled {
        /// The schedule.
        schedule: Schedule,
        /// Where it stands.
        from: String,
        /// How long after the start it begins to count.
        delay: Duration,
    },
    /// Once, at the start.
    Once,
    /// Not at all.
    Never {
        /// For which reason.
        why: String,
    },
}

impl FeedsConfig {
    /// When each feed is read. What the file says goes before `quartz_cron_scheduler`, and that before
    /// `--cron`; but who is not enabled there does not run, whatever else is said.
    ///
    /// # Errors
    ///
    /// When there is no feed, none of a name that is wanted, no schedule for one, or two jobs follow the same
    /// feed.
    pub fn plan(&self, rows: &[QuartzJob], wanted: &Wanted<'_>) -> anyhow::Result<Vec<PlannedJob>> {
        self.knows(wanted.only)?;
        let (mut planned, mut without) = (Vec::new(), Vec::new());
        for job in &self.jobs {
            match self.when(job, rows, wanted)? {
                Some(when) => planned.push(PlannedJob {
                    job: job.clone(),
                    when,
                }),
                None => without.push(job.name.as_str()),
            }
        }
        if !without.is_empty() {
            bail!(
                "nothing says when to read {}: give --cron \"0/30 * * * * ?\" for them, name the \
                 others with --only, or say it in the file (scheduler.JOB.cron.expression) or in \
                 the table {TABLE}",
                without.join(", ")
            );
        }
        refuse_one_feed_for_two(&planned)?;
        Ok(planned)
    }

    /// The rows of `quartz_cron_scheduler` that are of no job here, and why.
    pub fn unused_rows(&self, rows: &[QuartzJob]) -> Vec<Unused> {
        let jobs = self.jobs.iter();
        let of_jobs = jobs.filter_map(|job| Some((job, quartz::rows_of(rows, &job.name)?)));
        let of_jobs: Vec<_> = of_jobs.collect();
        let is_unused = |row: &&QuartzJob| !of_jobs.iter().any(|(_, of_job)| of_job.has(row));
        let unused = rows.iter().filter(is_unused).map(|row| {
            let mut jobs = of_jobs.iter();
            let why = match jobs.find(|(job, _)| names::fit(&row.name, &job.name).is_some()) {
                Some((job, of_job)) => {
                    format!("{} is closer to job {}", of_job.counts.name, job.name)
                }
                None if names::is_of_failed(&row.name) => TRIES_AGAIN.to_owned(),
                None => "no feed of this file is called so".to_owned(),
            };
            Unused::new(format!("{} in {TABLE}", row.name), why)
        });
        unused.collect()
    }

    /// That there are these jobs.
    fn knows(&self, names: &[String]) -> anyhow::Result<()> {
        let known: Vec<_> = self.jobs.iter().map(|job| job.name.as_str()).collect();
        if known.is_empty() {
            bail!(
                "the file names no feed (such as openmrs.encounter.feed.uri or \
                 saleorder.feed.generator.uri): see whether it is the right one"
            );
        }
        match names.iter().find(|name| !known.contains(&name.as_str())) {
            Some(unknown) => bail!(
                "--only {unknown}: the file has no such job; it has {}",
                known.join(", ")
            ),
            None => Ok(()),
        }
    }

    /// `None` when nothing says it.
    fn when(
        &self,
        job: &Job,
        rows: &[QuartzJob],
        wanted: &Wanted<'_>,
    ) -> anyhow::Result<Option<When>> {
        let never = |why: String| Ok(Some(When::Never { why }));
        if !wanted.only.is_empty() && !wanted.only.contains(&job.name) {
            return never("left out by --only".to_owned());
        }
        let rows = quartz::rows_of(rows, &job.name);
        if let Some(rows) = rows.as_ref().filter(|rows| !rows.counts.enabled) {
            return never(match rows.names()[..] {
                [name] => format!("{name} is not enabled in {TABLE}"),
                ref names => format!("none of {} is enabled in {TABLE}", names.join(", ")),
            });
        }
        let row = rows.as_ref().map(|rows| rows.counts);
        if wanted.once {
            return Ok(Some(When::Once));
        }
        let initial = Duration::from_millis(self.initial_delay_ms);
        let in_row = row.and_then(|row| Some((row, row.cron.as_deref()?)));
        let (schedule, from, delay) = match (&job.cron, in_row, wanted.cron) {
            (Some(schedule), in_row, _) => (schedule.clone(), of_file(in_row), initial),
            (None, Some((row, cron)), _) => {
                let schedule = cron
                    .parse::<Schedule>()
                    .with_context(|| format!("the cron_statement of {} in {TABLE}", row.name))?;
                let delay = row.start_delay.unwrap_or(initial);
                (schedule, of_table(row, rows.as_ref()), delay)
            }
            (None, None, Some(schedule)) => (schedule.clone(), "from --cron".to_owned(), initial),
            (None, None, None) => return Ok(None),
        };
        let schedule = match wanted.zone {
            Some(zone) => schedule.in_zone(&zone.to_string())?,
            None => schedule,
        };
        Ok(Some(When::Scheduled {
            schedule,
            from,
            delay,
        }))
    }
}

/// Where a schedule of the file stands, and what it goes before.
fn of_file(in_row: Option<(&QuartzJob, &str)>) -> String {
    match in_row {
        Some((row, cron)) => format!(
            "from the file; {} in {TABLE}, which has {cron}, does not count",
            row.name
        ),
        None => "from the file".to_owned(),
    }
}

/// Where a schedule of the table stands, and what else stands there of the same feed.
fn of_table(row: &QuartzJob, rows: Option<&RowsOf<'_>>) -> String {
    let others = rows.iter().flat_map(|rows| rows.others());
    let others: Vec<_> = others.map(ToString::to_string).collect();
    let of_row = format!("from {TABLE}, {}", row.name);
    match others.is_empty() {
        true => of_row,
        false => format!("{of_row}; not by {} of the same feed", others.join(" or ")),
    }
}

/// A marker is one feed's: two jobs would take each other's events.
fn refuse_one_feed_for_two(planned: &[PlannedJob]) -> anyhow::Result<()> {
    let running: Vec<_> = planned
        .iter()
        .filter(|planned| planned.runs())
        .map(|planned| &planned.job)
        .collect();
    for (index, job) in running.iter().enumerate() {
        let mut before = running.iter().take(index);
        if let Some(other) = before.find(|other| other.feed == job.feed) {
            bail!(
                "{} and {} follow one feed, {}, which has one marker: name one of them with --only",
                other.name,
                job.name,
                job.feed
            );
        }
    }
    Ok(())
}

impl PlannedJob {
    /// Whether it is done at all.
    pub fn runs(&self) -> bool {
        !matches!(self.when, When::Never { .. })
    }
}

impl fmt::Display for PlannedJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {}: {}, ", self.job.name, self.job.feed)?;
        match &self.when {
            When::Scheduled {
                schedule,
                from,
                delay,
            } => {
                write!(f, "{schedule} ({from})")?;
                match delay.is_zero() {
                    true => Ok(()),
                    false => write!(f, ", beginning {delay:?} after the start"),
                }
            }
            When::Once => f.write_str("once"),
            When::Never { why } => write!(f, "does not run: {why}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn config(jobs: &str) -> FeedsConfig {
        serde_json::from_str(&format!(r#"{{"initial_delay_ms": 60000, "jobs": {jobs}}}"#)).unwrap()
    }

    fn three() -> FeedsConfig {
        config(
            r#"[{"name": "customer", "feed": "http://emr/patient/recent"},
                {"name": "saleorder", "feed": "http://emr/encounter/recent",
                 "cron": "0/30 * * * * ?"},
                {"name": "drug", "feed": "http://emr/drug/recent"}]"#,
        )
    }

    fn row(name: &str, enabled: bool, cron: &str, delay: Option<u64>) -> QuartzJob {
        QuartzJob {
            name: name.to_owned(),
            enabled,
            cron: Some(cron.to_owned()),
            start_delay: delay.map(Duration::from_millis),
        }
    }

    fn lines(config: &FeedsConfig, rows: &[QuartzJob], wanted: &Wanted<'_>) -> Vec<String> {
        let planned = config.plan(rows, wanted).unwrap();
        planned.iter().map(PlannedJob::to_string).collect()
    }

    #[test]
    fn file_table_and_command_line_say_when_in_this_order() {
        let cron = "0/10 * * * * ?".parse().unwrap();
        let rows = [
            row("customerFeedJobTrigger", true, "0/20 * * * * ?", Some(0)),
            row("customerFeedfailedJobTrigger", false, "0 * * * * ?", None),
            row(
                "saleOrderFeedJobTrigger",
                true,
                "0/15 * * * * ?",
                Some(5000),
            ),
        ];
        let wanted = Wanted {
            cron: Some(&cron),
            ..Wanted::default()
        };
        assert_eq!(
            lines(&three(), &rows, &wanted),
            [
                "job customer: http://emr/patient/recent, 0/20 * * * * ? (from \
                 quartz_cron_scheduler, customerFeedJobTrigger)",
                "job saleorder: http://emr/encounter/recent, 0/30 * * * * ? (from the file; \
                 saleOrderFeedJobTrigger in quartz_cron_scheduler, which has 0/15 * * * * ?, does \
                 not count), beginning 60s after the start",
                "job drug: http://emr/drug/recent, 0/10 * * * * ? (from --cron), beginning 60s \
                 after the start",
            ]
        );
    }

    #[test]
    fn who_is_not_enabled_or_not_named_does_not_run() {
        let rows = [
            row("saleOrderFeedJobTrigger", false, "0/15 * * * * ?", None),
            row(
                "openerpDrugFeedQuartzJobTrigger",
                true,
                "0/15 * * * * ?",
                None,
            ),
        ];
        let only = ["saleorder", "drug"].map(str::to_owned);
        let wanted = Wanted {
            only: &only,
            zone: Some("Asia/Kolkata".parse().unwrap()),
            ..Wanted::default()
        };
        assert_eq!(
            lines(&three(), &rows, &wanted),
            [
                "job customer: http://emr/patient/recent, does not run: left out by --only",
                "job saleorder: http://emr/encounter/recent, does not run: \
                 saleOrderFeedJobTrigger is not enabled in quartz_cron_scheduler",
                "job drug: http://emr/drug/recent, 0/15 * * * * ? in Asia/Kolkata (from \
                 quartz_cron_scheduler, openerpDrugFeedQuartzJobTrigger), beginning 60s after the \
                 start",
            ]
        );
    }

    #[test]
    fn the_feed_of_the_lab_is_read_while_one_of_its_three_rows_is_enabled() {
        let config = config(r#"[{"name": "lab", "feed": "http://emr/lab/recent"}]"#);
        let rows = |enabled: [bool; 3]| {
            [
                row(
                    "openerpLabTestFeedJobTrigger",
                    enabled[0],
                    "0/15 * * * * ?",
                    Some(0),
                ),
                row(
                    "openerpLabPanelFeedJobTrigger",
                    enabled[1],
                    "0/20 * * * * ?",
                    Some(0),
                ),
                row(
                    "openerpRadiologyTestFeedJobTrigger",
                    enabled[2],
                    "0/20 * * * * ?",
                    None,
                ),
            ]
        };
        let wanted = Wanted::default();
        let of_lab = "job lab: http://emr/lab/recent";
        for (enabled, says) in [
            (
                [false; 3],
                "does not run: none of openerpLabTestFeedJobTrigger, openerpLabPanelFeedJobTrigger, \
                 openerpRadiologyTestFeedJobTrigger is enabled in quartz_cron_scheduler",
            ),
            (
                [false, true, true],
                "0/20 * * * * ? (from quartz_cron_scheduler, openerpLabPanelFeedJobTrigger; not by \
                 openerpLabTestFeedJobTrigger (not enabled) or openerpRadiologyTestFeedJobTrigger \
                 (0/20 * * * * ?) of the same feed)",
            ),
        ] {
            let lines = lines(&config, &rows(enabled), &wanted);
            assert_eq!(lines, [format!("{of_lab}, {says}")]);
        }
        let mut alike = rows([true; 3]);
        for row in &mut alike {
            row.cron = Some("0/15 * * * * ?".to_owned());
            row.start_delay = Some(Duration::ZERO);
        }
        let says = "0/15 * * * * ? (from quartz_cron_scheduler, openerpLabTestFeedJobTrigger)";
        assert_eq!(
            lines(&config, &alike, &wanted),
            [format!("{of_lab}, {says}")]
        );
        assert!(config.unused_rows(&alike).is_empty());
    }

    #[test]
    fn rows_of_no_job_are_named() {
        let often = "0/15 * * * * ?";
        let rows = [
            row("openerpDrugFeedQuartzJobTrigger", true, often, None),
            row("drugFeedJob", true, often, None),
            row("customerFeedfailedJobTrigger", true, often, None),
            row("openerpLabTestFeedJobTrigger", true, often, None),
        ];
        let unused = three().unused_rows(&rows);
        let unused: Vec<_> = unused.iter().map(ToString::to_string).collect();
        assert_eq!(
            unused,
            [
                "openerpDrugFeedQuartzJobTrigger in quartz_cron_scheduler: drugFeedJob is closer to job drug",
                "customerFeedfailedJobTrigger in quartz_cron_scheduler: what is parked is tried again after \
                 each reading, and takes its own time",
                "openerpLabTestFeedJobTrigger in quartz_cron_scheduler: no feed of this file is called so",
            ]
        );
    }

    #[test]
    fn who_is_read_once_needs_no_schedule() {
        let wanted = Wanted {
            once: true,
            ..Wanted::default()
        };
        let lines = lines(&three(), &[], &wanted);
        assert_eq!(lines[2], "job drug: http://emr/drug/recent, once");
    }

    #[test]
    fn what_cannot_be_planned_is_named() {
        let twice = r#"[{"name": "patient", "feed": "http://emr/recent", "cron": "* * * * * ?"},
                        {"name": "encounter", "feed": "http://emr/recent", "cron": "* * * * * ?"}]"#;
        let wrong = [row("customerFeedJobTrigger", true, "often", None)];
        let unknown = ["stock".to_owned()];
        let only = Wanted {
            only: &unknown,
            ..Wanted::default()
        };
        let any = Wanted::default();
        for (config, rows, wanted, says) in [
            (three(), &[][..], &any, &["customer, drug", "--cron"][..]),
            (three(), &wrong, &any, &["customerFeedJobTrigger", "often"]),
            (three(), &[], &only, &["--only stock", "saleorder"]),
            (
                config(twice),
                &[],
                &any,
                &["patient and encounter", "--only"],
            ),
            (config("[]"), &[], &any, &["names no feed"]),
        ] {
            let error = config.plan(rows, wanted).unwrap_err();
            let error = format!("{error:#}");
            for word in says {
                assert!(error.contains(word), "{error}");
            }
        }
    }
}
