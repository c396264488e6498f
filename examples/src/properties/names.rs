//! The names of jobs, which keys, rows and people spell differently.

/// The letters and digits of a name, in lower case: `sale.order`, `saleOrder` and `saleorder` are one.
pub(super) fn squeezed(name: &str) -> String {
    let letters = name.chars().filter(|letter| letter.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}

/// The names of the three readers that the feed `lab` has in the original's program of Odoo, each of which takes
/// some of its events: `openerpLabTestFeedJobTrigger`, `openerpLabPanelFeedJobTrigger`,
/// `openerpRadiologyTestFeedJobTrigger`.
const READ_LAB: [&str; 3] = ["labtest", "labpanel", "radiologytest"];

/// How well the name of a row in `quartz_cron_scheduler` fits a job: the less, the better.
///
/// The rows are named after beans of the original's programs: `openMRSEncounterFeedJob` in the PACS service,
/// `customerFeedJobTrigger` and `openerpDrugFeedQuartzJobTrigger` in that of Odoo. For each there is one with
/// `Failed` in its name, when what is parked is tried again; here that follows each reading, and takes its own
/// time.
pub(super) fn fit(row: &str, job: &str) -> Option<u8> {
    let (row, job) = (squeezed(row), squeezed(job));
    if row == job {
        return Some(0);
    }
    if is_of_failed(&row) {
        return None;
    }
    let mut row = row.as_str();
    while let Some(shorter) = ["trigger", "job", "quartz", "feed"]
        .iter()
        .find_map(|ending| row.strip_suffix(ending))
    {
        row = shorter;
    }
    if row == job {
        return Some(1);
    }
    let read = without_reader(row);
    match !row.is_empty() && read == without_reader(&job) {
        true => Some(2),
        false => (job == "lab" && READ_LAB.contains(&read)).then_some(3),
    }
}

/// Whether a row says when what is parked is tried again.
pub(super) fn is_of_failed(row: &str) -> bool {
    squeezed(row).contains("failed")
}

/// Without the name of who reads the feed, or has it: each program follows those of OpenMRS. (OpenELIS has feeds
/// that are called the same.)
fn without_reader(name: &str) -> &str {
    let mut names = ["openerp", "openmrs"].iter();
    names
        .find_map(|reader| name.strip_prefix(reader))
        .unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_the_names_that_they_have_in_the_field() {
        for (row, job) in [
            ("openMRSEncounterFeedJob", "openmrs.encounter"),
            ("openMRSEncounterFeedJob", "encounter"),
            ("openMRSPatientFeedJob", "openmrs.patient"),
            ("customerFeedJobTrigger", "customer"),
            ("saleOrderFeedJobTrigger", "saleorder"),
            ("openelisSaleOrderFeedJobTrigger", "openelis.saleorder"),
            ("openerpDrugFeedQuartzJobTrigger", "drug"),
            ("openerpSaleableFeedJobTrigger", "saleable"),
            ("openerpLabTestFeedJobTrigger", "lab"),
            ("openerpLabPanelFeedJobTrigger", "lab"),
            ("openerpRadiologyTestFeedJobTrigger", "lab"),
            ("referencedata", "referencedata"),
        ] {
            assert!(fit(row, job).is_some(), "{row} {job}");
        }
        for (row, job) in [
            ("openMRSEncounterFailedFeedJob", "openmrs.encounter"),
            ("customerFeedfailedJobTrigger", "customer"),
            ("openerpDrugFeedQuartzFailedJobTrigger", "drug"),
            ("openelisSaleOrderFeedJobTrigger", "saleorder"),
            ("saleOrderFeedJobTrigger", "openelis.saleorder"),
            ("eventPublisherTrigger", "customer"),
            ("FeedJob", "lab"),
            ("openerpLabTestFeedFailedEventsJobTrigger", "lab"),
            ("openerpLabTestFeedJobTrigger", "drug"),
        ] {
            assert_eq!(fit(row, job), None, "{row} {job}");
        }
        assert!(fit("labFeedJob", "lab") < fit("openerpLabTestFeedJobTrigger", "lab"));
        assert!(fit("saleorder", "saleorder") < fit("saleOrderFeedJobTrigger", "saleorder"));
        let openmrs = fit("openMRSPatientFeedJob", "openmrs.patient");
        assert!(openmrs < fit("openMRSPatientFeedJob", "patient"));
    }
}
