//! The table of all that agrees, as it was printed, and as it is counted here.

use super::databases::Databases;

/// The rows of the table that was printed, in cells.
pub(super) fn printed(stdout: &[String]) -> Vec<Vec<String>> {
    let lines = stdout.iter().skip_while(|line| !line.starts_with("what "));
    let lines = lines.skip(1).take_while(|line| !line.is_empty());
    let cells = |line: &String| {
        let cells = line.split("  ").map(str::trim);
        let cells = cells.filter(|cell| !cell.is_empty());
        cells.map(str::to_owned).collect()
    };
    lines.map(cells).collect()
}

/// The same as it is to be after a day of 120 events, when all agree.
pub(super) async fn counted(databases: &Databases) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (what, sides) in COUNTED {
        let mut row = vec![what.to_owned()];
        for (system, database, select) in sides {
            let count = databases.number(database, select).await;
            assert!(count > 0, "there is nothing of {what} in {system}");
            row.extend([system.to_owned(), count.to_string()]);
        }
        rows.push(row);
    }
    for ([source, published], [target, applied], category) in FLOWS {
        let mut row = vec![format!("events: {category}")];
        let select = format!("SELECT COUNT(*) FROM event_records WHERE category = '{category}'");
        let count = databases.number(published, &select).await;
        row.extend([source.to_owned(), count.to_string()]);
        let select = format!("SELECT COUNT(*) FROM applied WHERE feed LIKE '%/{category}/recent'");
        let count = databases.number(applied, &select).await;
        row.extend([target.to_owned(), count.to_string()]);
        rows.push(row);
    }
    let select = "SELECT COUNT(*) FROM event_records";
    let [emr, lab] = [
        databases.number("emr", select).await,
        databases.number("lab", select).await,
    ];
    let mut row = ["events, all", "the day", "120", "EMR and lab"]
        .map(str::to_owned)
        .to_vec();
    row.push((emr + lab).to_string());
    rows.push(row);
    for row in &mut rows {
        row.extend(["0", "0", "0"].map(str::to_owned));
    }
    rows
}

/// Who publishes, and in which database; who applies, and where; and what.
pub(super) const FLOWS: [([&str; 2], [&str; 2], &str); 10] = [
    (["EMR", "emr"], ["lab", "lab"], "patient"),
    (["EMR", "emr"], ["lab", "lab"], "lab"),
    (["EMR", "emr"], ["lab", "lab"], "encounter"),
    (["EMR", "emr"], ["ERP", "erp_feeds"], "patient"),
    (["EMR", "emr"], ["ERP", "erp_feeds"], "drug"),
    (["EMR", "emr"], ["ERP", "erp_feeds"], "lab"),
    (["EMR", "emr"], ["ERP", "erp_feeds"], "encounter"),
    (["EMR", "emr"], ["imaging", "imaging_feeds"], "patient"),
    (["EMR", "emr"], ["imaging", "imaging_feeds"], "encounter"),
    (["lab", "lab"], ["EMR", "emr"], "patient"),
];

/// Which system has it, in which database, and how it is counted there.
type Side = (&'static str, &'static str, &'static str);

const PATIENTS: &str = "SELECT COUNT(*) FROM patients";
const RESULTS: &str = "SELECT COUNT(*) FROM results";
const SOLD: &str = "SELECT COUNT(*) FROM orders WHERE kind IN ('drug', 'lab', 'service')";
const SALES: &str = "SELECT COUNT(*) FROM sale_order";

const COUNTED: [(&str, [Side; 2]); 12] = [
    (
        "patients",
        [("EMR", "emr", PATIENTS), ("lab", "lab", PATIENTS)],
    ),
    (
        "tests and panels",
        [
            ("EMR", "emr", "SELECT COUNT(*) FROM lab_tests"),
            ("lab", "lab", "SELECT COUNT(*) FROM tests"),
        ],
    ),
    (
        "lab orders",
        [
            (
                "EMR",
                "emr",
                "SELECT COUNT(*) FROM orders WHERE kind = 'lab'",
            ),
            ("lab", "lab", "SELECT COUNT(*) FROM orders"),
        ],
    ),
    (
        "results ordered",
        [
            (
                "EMR",
                "emr",
                "SELECT SUM(1 + LENGTH(members) - LENGTH(REPLACE(members, ',', '')))
                FROM orders JOIN lab_tests ON lab_tests.uuid = orders.concept_uuid
                WHERE kind = 'lab' AND action <> 'DISCONTINUE'",
            ),
            ("lab", "lab", RESULTS),
        ],
    ),
    (
        "results",
        [("lab", "lab", RESULTS), ("EMR", "emr", RESULTS)],
    ),
    (
        "customers",
        [
            ("EMR", "emr", PATIENTS),
            ("ERP", "erp", "SELECT COUNT(*) FROM res_partner"),
        ],
    ),
    (
        "products",
        [
            (
                "EMR",
                "emr",
                "SELECT (SELECT COUNT(*) FROM drugs) + (SELECT COUNT(*) FROM lab_tests)",
            ),
            (
                "ERP",
                "erp",
                "SELECT COUNT(*) FROM product_product WHERE list_price > 0",
            ),
        ],
    ),
    (
        "services",
        [
            (
                "EMR",
                "emr",
                "SELECT COUNT(DISTINCT concept_uuid) FROM orders WHERE kind = 'service'",
            ),
            (
                "ERP",
                "erp",
                "SELECT COUNT(*) FROM product_product WHERE list_price = 0",
            ),
        ],
    ),
    (
        "sale orders",
        [
            (
                "EMR",
                "emr",
                "SELECT COUNT(DISTINCT encounter_uuid) FROM orders WHERE kind <> 'radiology'",
            ),
            ("ERP", "erp", SALES),
        ],
    ),
    (
        "sale order lines",
        [
            ("EMR", "emr", SOLD),
            ("ERP", "erp", "SELECT COUNT(*) FROM sale_order_line"),
        ],
    ),
    (
        "totals",
        [
            (
                "ERP lines",
                "erp",
                "SELECT COUNT(DISTINCT order_id) FROM sale_order_line",
            ),
            ("ERP orders", "erp", SALES),
        ],
    ),
    (
        "radiology orders",
        [
            (
                "EMR",
                "emr",
                "SELECT COUNT(*) FROM orders WHERE kind = 'radiology'",
            ),
            ("imaging", "imaging", "SELECT COUNT(*) FROM studies"),
        ],
    ),
];
