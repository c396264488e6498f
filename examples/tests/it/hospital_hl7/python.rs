//! What Python's hl7 reads in our messages.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use atomfeed_client::Handled;
use atomfeed_examples::hospital::documents::OrderAction;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{on_a_file, order};

/// The system's, for which Debian packages hl7.
const PYTHON: &str = "/usr/bin/python3";

/// A receiver of Python's hl7: splits each message, prints what it reads in it, and acknowledges it.
const RECEIVER: &str = r#"
import asyncio, json
from hl7.mllp import start_hl7_server

FIELDS = {
    "kind": ("MSH", 9, 1), "event": ("MSH", 9, 2), "id": ("MSH", 10, 1), "version": ("MSH", 12, 1),
    "charset": ("MSH", 18, 1), "patient": ("PID", 3, 1), "family": ("PID", 5, 1), "given": ("PID", 5, 2),
    "born": ("PID", 7, 1), "sex": ("PID", 8, 1), "control": ("ORC", 1, 1), "order": ("ORC", 2, 1),
    "quantity": ("ORC", 7, 1), "placer": ("OBR", 2, 1), "concept": ("OBR", 4, 1), "name": ("OBR", 4, 2),
}

async def converse(reader, writer):
    while True:
        try:
            message = await reader.readmessage()
        except asyncio.IncompleteReadError:
            return writer.close()
        said = {}
        for name, (segment, field, component) in FIELDS.items():
            said[name] = message.extract_field(segment, 1, field, 1, component)
        said["segments"] = [str(segment[0]) for segment in message]
        print(json.dumps(said), flush=True)
        writer.writemessage(message.create_ack("AA"))
        await writer.drain()

async def main():
    server = await start_hl7_server(converse, "127.0.0.1", 0, encoding="utf-8")
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"#;

/// The receiver as a process, which is killed when this is dropped.
struct PythonHl7 {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl PythonHl7 {
    /// By the system's Python, if it has hl7; it must where `ATOMFEED_HL7` is set.
    fn start() -> Option<Self> {
        let tried = Command::new(PYTHON)
            .args(["-c", "import hl7.mllp"])
            .stderr(Stdio::null())
            .status();
        if !tried.is_ok_and(|status| status.success()) {
            let may_be_missing = std::env::var_os("ATOMFEED_HL7").is_none();
            assert!(may_be_missing, "{PYTHON} has no hl7 (Debian's python3-hl7)");
            println!("skipped: {PYTHON} has no hl7 (Debian's python3-hl7)");
            return None;
        }
        let mut child = Command::new(PYTHON)
            .args(["-c", RECEIVER])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Some(Self { child, lines })
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }
}

impl Drop for PythonHl7 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_receiver_that_we_did_not_write_reads_what_was_ordered() {
    let Some(mut python) = PythonHl7::start() else {
        return;
    };
    let address = format!("127.0.0.1:{}", python.line());
    let (imaging, _folder) = on_a_file(&address).await;
    let name = "आशा |^~\\& of two\nlines";
    let concept = "X-ray|chest^PA~2\\views&more\r\nछाती \\F\\";
    let mut last_id = Value::Null;
    for (action, control, quantity) in [
        (OrderAction::New, "NW", 1),
        (OrderAction::Revise, "XO", 2),
        (OrderAction::Discontinue, "CA", 2),
    ] {
        let mut order = order(1, action, concept);
        order.quantity = quantity;
        let handled = imaging.hears(&[order], name).await.unwrap();
        assert_eq!(handled, Handled::Applied);
        let mut said = python.line();
        let id = said["id"].take();
        assert_eq!(id.as_str().unwrap().len(), 20);
        assert_ne!(id, last_id);
        last_id = id;
        let expected = json!({
            "kind": "ORM", "event": "O01", "id": null, "version": "2.5", "charset": "UNICODE UTF-8",
            "patient": "GAN200001", "family": "two\nlines", "given": "आशा |^~\\& of",
            "born": "19800229", "sex": "F", "control": control, "order": "ORD-1",
            "quantity": quantity.to_string(), "placer": "ORD-1",
            "concept": Uuid::from_u128(7).to_string(), "name": concept,
            "segments": ["MSH", "PID", "ORC", "OBR"],
        });
        assert_eq!(said, expected);
    }
}
