//! Damages of what the EMR and the ERP both know.

use super::Damages;
use super::databases::Thing;

const CUSTOMERS: Thing = Thing {
    what: "customers",
    from: "EMR",
    to: "ERP",
    database: "erp",
    table: "res_partner",
    name: "ref",
};

const PRODUCTS: Thing = Thing {
    what: "products",
    table: "product_product",
    name: "default_code",
    ..CUSTOMERS
};

const SERVICES: Thing = Thing {
    what: "services",
    ..PRODUCTS
};

const SALES: Thing = Thing {
    what: "sale orders",
    table: "sale_order",
    name: "client_order_ref",
    ..CUSTOMERS
};

const LINES: Thing = Thing {
    what: "sale order lines",
    table: "sale_order_line",
    name: "x_external_ref",
    ..CUSTOMERS
};

const TOTALS: Thing = Thing {
    what: "totals",
    from: "ERP lines",
    to: "ERP orders",
    ..SALES
};

/// Sale orders of drugs.
const EACH_SALE: &str = "SELECT client_order_ref FROM sale_order WHERE id IN
    (SELECT order_id FROM sale_order_line WHERE product_uom_qty > 0 AND product_id IN
        (SELECT id FROM product_product WHERE type = 'consu')) ORDER BY 1";

impl Damages {
    pub(super) async fn of_customers(&mut self) {
        // Else what was sold to the customer would be different, too.
        let select = "SELECT ref FROM res_partner
            WHERE id NOT IN (SELECT partner_id FROM sale_order) ORDER BY 1";
        let lost = self.databases.text("erp", select).await;
        let select = "SELECT ref FROM res_partner
            WHERE id IN (SELECT partner_id FROM sale_order) ORDER BY 1";
        let [doubled, spoilt] = self.databases.some("erp", select).await;
        self.lose(&CUSTOMERS, &lost).await;
        self.double(&CUSTOMERS, &doubled).await;
        // A person has made one: that is no difference.
        self.copy(&CUSTOMERS, &doubled, "ref", "NULL").await;
        let columns = [
            ("identifier", "barcode", "'wrong'"),
            ("name", "name", "'wrong'"),
            ("village", "city", "'wrong'"),
        ];
        self.spoil(&CUSTOMERS, &spoilt, &columns).await;
    }

    /// All products are sold: in the place of one that is lost in the ERP there is one more in the EMR.
    pub(super) async fn of_products(&mut self) {
        let insert = "INSERT INTO drugs (uuid, name, form, price)
            VALUES ('more', 'More', 'Tablet', 1)";
        self.databases.change("emr", insert).await;
        self.said.push(PRODUCTS.missing("more"));
        let select = "SELECT default_code FROM product_product WHERE list_price > 0 ORDER BY 1";
        let [doubled, spoilt] = self.databases.some("erp", select).await;
        self.double(&PRODUCTS, &doubled).await;
        // A person has made one: that is no difference.
        self.copy(&PRODUCTS, &doubled, "default_code", "NULL").await;
        let columns = [
            ("name", "name", "'wrong'"),
            ("price", "list_price", "list_price + 1"),
        ];
        self.spoil(&PRODUCTS, &spoilt, &columns).await;

        // One too many in the ERP is none of the services, which the EMR has ordered.
        let select = "SELECT uuid FROM orders WHERE kind = 'service' ORDER BY 1";
        let order = self.databases.text("emr", select).await;
        let is_it = format!("uuid = '{order}'");
        let others = [("uuid", "'more'"), ("concept_uuid", "'more'")];
        self.databases.copy("emr", "orders", &is_it, &others).await;
        self.said
            .extend([SERVICES.missing("more"), LINES.missing("more")]);
        let select = "SELECT default_code FROM product_product WHERE list_price = 0 ORDER BY 1";
        let spoilt = self.databases.text("erp", select).await;
        self.spoil(&SERVICES, &spoilt, &[("name", "name", "'wrong'")])
            .await;
        // The ERP has one name of a service, whichever came first.
        let select = "SELECT MIN(uuid) FROM orders WHERE kind = 'service' GROUP BY concept_uuid
            HAVING COUNT(*) > 1 ORDER BY concept_uuid DESC";
        let [order, renamed] = self.databases.some("emr", select).await;
        let update = format!("UPDATE orders SET concept_name = 'other' WHERE uuid = '{order}'");
        self.databases.change("emr", &update).await;
        let of_it = format!("SELECT concept_uuid FROM orders WHERE uuid = '{renamed}'");
        let insert = format!("INSERT INTO renamed_services (uuid) {of_it}");
        self.databases.change("emr", &insert).await;
        let update =
            format!("UPDATE orders SET concept_name = 'other' WHERE concept_uuid = ({of_it})");
        assert!(self.databases.run("emr", &update).await > 1);
    }

    pub(super) async fn of_sales(&mut self) {
        let [lost, twice, sold, dearer, moved, kept, cancelled] =
            self.databases.some("erp", EACH_SALE).await;
        for line in self.lines(&lost).await {
            self.lose(&LINES, &line).await;
        }
        self.lose(&SALES, &lost).await;
        self.sell_again(&twice).await;
        self.sell_to_another(&sold).await;

        let is_it = SALES.is(&dearer);
        let select = format!("SELECT amount_total FROM sale_order WHERE {is_it}");
        let total = self.databases.number("erp", &select).await;
        let update = format!("UPDATE sale_order SET amount_total = amount_total + 1 WHERE {is_it}");
        self.databases.change("erp", &update).await;
        let total = ("total", total.to_string(), (total + 1).to_string());
        self.said.push(TOTALS.different(&dearer, &[total]));

        self.sell_a_test_for_more().await;
        let to = self.other(&moved, &cancelled).await;
        self.move_line(&moved, &to).await;

        let line = self.sold_line(&kept).await;
        self.cancel("uuid", &line).await;
        let quantity = self.of_line("product_uom_qty", &line).await;
        let quantity = ("quantity", "0".to_owned(), quantity.to_string());
        self.said.push(LINES.different(&line, &[quantity]));
        let line = self.sold_line(&cancelled).await;
        self.cancel("uuid", &line).await;
        self.lose(&LINES, &line).await;
        self.add_up(&SALES.is(&cancelled)).await;
    }

    /// Of a test that the EMR has told of again, with another name and not with another price.
    async fn sell_a_test_for_more(&mut self) {
        let select = "SELECT uuid FROM lab_tests WHERE name LIKE '%, method %'";
        let renamed = self.databases.texts("emr", select).await;
        let select = format!(
            "SELECT x_external_ref FROM sale_order_line WHERE product_id IN
                (SELECT id FROM product_product WHERE default_code IN ('{}')) ORDER BY 1",
            renamed.join("', '")
        );
        let line = self.databases.text("erp", &select).await;
        let select = format!(
            "SELECT client_order_ref FROM sale_order WHERE id =
                (SELECT order_id FROM sale_order_line WHERE {})",
            LINES.is(&line)
        );
        let order = self.databases.text("erp", &select).await;
        let dearer = [("price", "price_unit", "price_unit + 1")];
        self.spoil(&LINES, &line, &dearer).await;
        self.add_up(&SALES.is(&order)).await;
    }

    /// The lines of a sale order.
    async fn lines(&self, order: &str) -> Vec<String> {
        let select = format!(
            "SELECT x_external_ref FROM sale_order_line
            WHERE order_id = (SELECT id FROM sale_order WHERE {})",
            SALES.is(order)
        );
        self.databases.texts("erp", &select).await
    }

    /// A line of a sale order, of a drug.
    async fn sold_line(&self, order: &str) -> String {
        let select = format!(
            "SELECT x_external_ref FROM sale_order_line
            WHERE order_id = (SELECT id FROM sale_order WHERE {}) AND product_uom_qty > 0
             AND product_id IN (SELECT id FROM product_product WHERE type = 'consu')",
            SALES.is(order)
        );
        self.databases.text("erp", &select).await
    }

    async fn of_line(&self, column: &str, line: &str) -> i64 {
        let is_it = LINES.is(line);
        let select = format!("SELECT {column} FROM sale_order_line WHERE {is_it}");
        self.databases.number("erp", &select).await
    }

    /// Whom a sale order is for.
    async fn patient(&self, order: &str) -> String {
        let select = format!(
            "SELECT ref FROM res_partner WHERE id = (SELECT partner_id FROM sale_order WHERE {})",
            SALES.is(order)
        );
        self.databases.text("erp", &select).await
    }

    /// A sale order for somebody else, after another in the order of their references.
    async fn other(&self, order: &str, after: &str) -> String {
        let patient = self.patient(order).await;
        let select = format!(
            "SELECT client_order_ref FROM sale_order WHERE client_order_ref > '{after}'
             AND partner_id <> (SELECT id FROM res_partner WHERE ref = '{patient}') ORDER BY 1"
        );
        self.databases.text("erp", &select).await
    }

    /// Has a sale order come to what its lines do.
    async fn add_up(&self, is_it: &str) {
        let update = format!(
            "UPDATE sale_order SET amount_total =
                (SELECT COALESCE(SUM(product_uom_qty * price_unit), 0)
                FROM sale_order_line WHERE order_id = sale_order.id) WHERE {is_it}"
        );
        self.databases.change("erp", &update).await;
    }

    /// Sells a line a second time, without a reference.
    async fn sell_again(&mut self, order: &str) {
        let line = self.sold_line(order).await;
        self.copy(&SALES, order, "client_order_ref", "NULL").await;
        let last = self
            .databases
            .number("erp", "SELECT MAX(id) FROM sale_order");
        let id = last.await.to_string();
        let others = [("order_id", id.as_str()), ("x_external_ref", "NULL")];
        let is_it = LINES.is(&line);
        self.databases
            .copy("erp", "sale_order_line", &is_it, &others)
            .await;
        self.add_up(&format!("id = {id}")).await;
        let last = self
            .databases
            .number("erp", "SELECT MAX(id) FROM sale_order_line");
        let line = last.await;
        self.said.extend([
            SALES.unexpected(&format!("id {id}, without a reference")),
            LINES.unexpected(&format!("id {line}, without a reference")),
        ]);
    }

    /// Sells to somebody else, and cancels it.
    async fn sell_to_another(&mut self, order: &str) {
        let is_it = SALES.is(order);
        let was = self.patient(order).await;
        let select = format!(
            "SELECT ref FROM res_partner WHERE ref <> '{was}'
             AND id IN (SELECT partner_id FROM sale_order) ORDER BY 1"
        );
        let is = self.databases.text("erp", &select).await;
        let update = format!(
            "UPDATE sale_order SET state = 'cancel',
             partner_id = (SELECT id FROM res_partner WHERE ref = '{is}') WHERE {is_it}"
        );
        self.databases.change("erp", &update).await;
        let patient = ("patient", was, is);
        for line in self.lines(order).await {
            let said = LINES.different(&line, std::slice::from_ref(&patient));
            self.said.push(said);
        }
        let state = ("state", "not cancelled".to_owned(), "cancel".to_owned());
        self.said.push(SALES.different(order, &[patient, state]));
    }

    /// Has a line be of another order, and sell more of another thing for more; no total is wrong.
    async fn move_line(&mut self, order: &str, to: &str) {
        let line = self.sold_line(order).await;
        let [quantity, price, product] = [
            self.of_line("product_uom_qty", &line).await,
            self.of_line("price_unit", &line).await,
            self.of_line("product_id", &line).await,
        ];
        let [was, is] = ["=", "<>"].map(|sign| {
            format!(
                "SELECT default_code FROM product_product
                WHERE id {sign} {product} AND default_code IS NOT NULL ORDER BY id"
            )
        });
        let was = self.databases.text("erp", &was).await;
        let is = self.databases.text("erp", &is).await;
        let update = format!(
            "UPDATE sale_order_line SET product_uom_qty = product_uom_qty + 1,
             price_unit = price_unit + 1, order_id = (SELECT id FROM sale_order WHERE {}),
             product_id = (SELECT id FROM product_product WHERE default_code = '{is}')
            WHERE {}",
            SALES.is(to),
            LINES.is(&line)
        );
        self.databases.change("erp", &update).await;
        for order in [order, to] {
            self.add_up(&SALES.is(order)).await;
        }
        let [patient, others] = [self.patient(order).await, self.patient(to).await];
        let columns = [
            ("encounter", order.to_owned(), to.to_owned()),
            ("patient", patient, others),
            ("product", was, is),
            ("quantity", quantity.to_string(), (quantity + 1).to_string()),
            ("price", price.to_string(), (price + 1).to_string()),
        ];
        self.said.push(LINES.different(&line, &columns));
    }
}
