//! What Python's odoorpc does with what stands in for Odoo.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use atomfeed_client::CancellationToken;
use atomfeed_examples::hospital::documents::OrderKind;
use atomfeed_examples::hospital::erp::{self, Odoo, standin};
use atomfeed_examples::hospital::feeds;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::emr::Emr;
use super::erp::{address, drug, encounter, http, lab_test, on_a_file, order, patient};
use crate::programs::PATIENCE;

/// The system's, for which Debian packages odoorpc.
const PYTHON: &str = "/usr/bin/python3";

/// Signs in, reads what the feeds have brought by all ways that there are, and writes a partner of its own.
const SCRIPT: &str = r#"
import json, sys
import odoorpc

port, database, user, password, patient, drug, encounter = sys.argv[1:]
said = {}
odoo = odoorpc.ODOO("127.0.0.1", port=int(port))
said["version"] = odoo.version

def refused(ask):
    try:
        ask()
    except odoorpc.error.RPCError as error:
        return [str(error), error.info["data"]["name"]]

said["stranger"] = refused(lambda: odoo.login(database, user, "guessed"))
odoo.login(database, user, password)
said["user"] = odoo.env.user.name
said["models"] = ["res.partner" in odoo.env, "res.country" in odoo.env]

Partner, Product, Order = (odoo.env[name] for name in ("res.partner", "product.product", "sale.order"))

partner = Partner.browse(Partner.search([("ref", "=", patient)]))
said["partner"] = [partner.name, partner.barcode, partner.city, partner.customer_rank]

products = Product.search_read([("default_code", "in", [drug])], ["name", "list_price", "type"])
said["products"] = [[row["name"], row["list_price"], row["type"]] for row in products]

order = Order.browse(Order.search([("client_order_ref", "=", encounter)])[0])
said["order"] = [order.name, order.partner_id.name, order.amount_total, order.x_approved]
said["date"] = order.date_order.isoformat()
said["lines"] = [
    [line.x_external_ref, line.product_id.default_code, line.product_uom_qty, line.price_unit]
    for line in order.order_line
]
row = Order.read([order.id], ["partner_id", "order_line"])[0]
said["row"] = [row["partner_id"] == [partner.id, partner.name], row["order_line"] == order.order_line.ids]
said["names"] = Partner.name_get([partner.id])[0][1]

canteen = Partner.create({"name": "Canteen", "ref": "canteen"})
Partner.write([canteen], {"city": "Bilaspur"})
canteen = Partner.browse(canteen)
canteen.email = "canteen@example.org"
said["canteen"] = Partner.search_read(
    ["|", ("name", "ilike", "cant"), ("city", "=", "nowhere")], ["name", "city", "email"])
said["canteen"][0].pop("id")

said["twice"] = refused(lambda: Partner.create({"name": "Canteen", "ref": "canteen"}))
said["field"] = refused(lambda: Partner.search([("nothing", "=", 1)]))
said["method"] = refused(lambda: Partner.explode())
said["model"] = refused(lambda: odoo.execute("res.country", "search", []))
said["session"] = odoo.json("/web/dataset/call_kw", {
    "model": "res.partner", "method": "search_count", "args": [[]], "kwargs": {}})["result"]
odoo.logout()
said["signed out"] = refused(lambda: odoo.json("/web/dataset/call_kw", {
    "model": "res.partner", "method": "search_count", "args": [[]], "kwargs": {}}))
print(json.dumps(said))
"#;

/// Whether the system's Python has odoorpc; it must where `ATOMFEED_ODOORPC` is set.
fn has_odoorpc() -> bool {
    let tried = Command::new(PYTHON)
        .args(["-c", "import odoorpc"])
        .stderr(Stdio::null())
        .status();
    let has = tried.is_ok_and(|status| status.success());
    if !has {
        let may_be_missing = std::env::var_os("ATOMFEED_ODOORPC").is_none();
        assert!(
            may_be_missing,
            "{PYTHON} has no odoorpc (Debian's python3-odoorpc)"
        );
        println!("skipped: {PYTHON} has no odoorpc (Debian's python3-odoorpc)");
    }
    has
}

/// What the script says.
fn run(arguments: &[String]) -> Value {
    let mut python = Command::new(PYTHON);
    python.args(["-c", SCRIPT]).args(arguments);
    // It is asked itself, and no proxy.
    python.env("no_proxy", "*").stderr(Stdio::inherit());
    let output = python.output().unwrap();
    assert!(output.status.success(), "odoorpc failed: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Polls until the encounter was sold.
async fn wait_for_the_sale(odoo: &Odoo) {
    let begun = Instant::now();
    loop {
        let lines = odoo
            .search_read("sale.order.line", json!([]), &["id"])
            .await;
        let count = lines.map(|lines| lines.len());
        if count.as_ref().is_ok_and(|count| *count == 2) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{count:?} lines are sold");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odoorpc_reads_what_the_feeds_have_brought() {
    if !has_odoorpc() {
        return;
    }
    let (_folder, store) = on_a_file().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = http(&listener);
    let stop = CancellationToken::new();
    let serving = tokio::spawn(standin::run(store, listener, stop.clone()));

    let emr = Emr::start().await;
    let (_markers, markers) = on_a_file().await;
    let options = erp::Options {
        emr: emr.url.clone(),
        odoo: address(url.clone()),
    };
    let following = tokio::spawn(erp::run(markers, options, stop.clone()));
    let orders = [order(1, OrderKind::Drug, 10), order(2, OrderKind::Lab, 1)];
    let encounter = encounter(&orders);
    for (category, uuid, document) in [
        ("patient", patient().uuid, json!(patient())),
        ("drug", drug().uuid, json!(drug())),
        ("lab", lab_test().uuid, json!(lab_test())),
        ("encounter", encounter.uuid, json!(encounter)),
    ] {
        let content = format!("/openmrs/ws/rest/v1/{category}/{uuid}?v=full");
        emr.publishes(category, &content, &document).await;
    }
    let odoo = Odoo::new(address(url.clone())).unwrap();
    wait_for_the_sale(&odoo).await;

    let arguments = [
        url.port().unwrap().to_string(),
        standin::DATABASE.to_owned(),
        standin::USER.to_owned(),
        feeds::PASSWORD.to_owned(),
        patient().uuid.to_string(),
        drug().uuid.to_string(),
        encounter.uuid.to_string(),
    ];
    let said = tokio::task::spawn_blocking(move || run(&arguments)).await;
    let said = said.unwrap();
    let expected = json!({
        "version": "16.0",
        "stranger": ["Access Denied", "odoo.exceptions.AccessDenied"],
        "user": "Administrator",
        "models": [true, false],
        "partner": ["Asha Verma", "GAN200001", "Ganiyari", 1],
        "products": [["Paracetamol 500mg", 12.5, "consu"]],
        "order": ["S00001", "Asha Verma", 205.0, false],
        "date": "2024-03-01T08:01:00",
        "lines": [
            [orders[0].uuid, drug().uuid, 10.0, 12.5],
            [orders[1].uuid, lab_test().uuid, 1.0, 80.0],
        ],
        "row": [true, true],
        "names": "Asha Verma",
        "canteen": [{ "name": "Canteen", "city": "Bilaspur", "email": "canteen@example.org" }],
        "twice": [
            "The operation cannot be completed: ref must be unique, and Canteen has the Reference canteen \
             already",
            "odoo.exceptions.ValidationError",
        ],
        "field": ["Invalid field 'nothing' on model 'res.partner'", "builtins.ValueError"],
        "method": [
            "type object 'res.partner' has no attribute 'explode'",
            "builtins.AttributeError",
        ],
        "model": ["Object res.country doesn't exist", "odoo.exceptions.UserError"],
        "session": 2,
        "signed out": ["Session expired", "odoo.http.SessionExpiredException"],
    });
    assert_eq!(said, expected, "{said:#}");
    stop.cancel();
    following.await.unwrap().unwrap();
    serving.await.unwrap().unwrap();
}
