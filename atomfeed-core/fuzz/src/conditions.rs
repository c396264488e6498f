use atomfeed_server::fuzzing;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The first letter of a line says which field it is of.
const FIELDS: [(u8, &str); 7] = [
    (b'A', "accept"),
    (b'E', "accept-encoding"),
    (b'P', "prefer"),
    (b'N', "if-none-match"),
    (b'M', "if-match"),
    (b'S', "if-modified-since"),
    (b'U', "if-unmodified-since"),
];

const TAG: &str = "0123456789abcdef";

/// Reads any lines as the fields of a request for a page.
pub fn asked(input: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n') {
        let Some((first, value)) = line.split_first() else {
            continue;
        };
        let Some((_, name)) = FIELDS.iter().find(|(letter, _)| letter == first) else {
            return;
        };
        let Ok(value) = HeaderValue::from_bytes(value) else {
            return;
        };
        headers.append(HeaderName::from_static(name), value);
    }
    let understood = fuzzing::asked(&headers, TAG, 1_700_000_000);
    if !headers.contains_key("accept-encoding") {
        assert_eq!(understood.coding, Some("identity"));
    }
    if !headers.contains_key("accept") {
        assert!(understood.takes_atom);
    }
    let conditions = [
        "if-none-match",
        "if-match",
        "if-modified-since",
        "if-unmodified-since",
    ];
    if !conditions.iter().any(|name| headers.contains_key(*name)) {
        assert_eq!(understood.status, 200);
    }
    let says = |name: &str, text: &str| {
        let lines = headers.get_all(name).into_iter();
        lines
            .filter_map(|line| line.to_str().ok())
            .any(|line| line.contains(text))
    };
    // What is neither named nor meant by all is not withheld.
    let is_named = says("if-none-match", TAG) || says("if-none-match", "*");
    if understood.status == 304 && headers.contains_key("if-none-match") {
        assert!(is_named, "{headers:?}");
    }
    // Named alone, in the form that it has, it is not sent again.
    headers.remove("if-match");
    headers.remove("if-unmodified-since");
    if let Some(coding) = understood.coding {
        let tag = fuzzing::entity_tag(coding, TAG);
        headers.insert("if-none-match", HeaderValue::from_str(&tag).expect("a tag"));
        assert_eq!(fuzzing::asked(&headers, TAG, 1_700_000_000).status, 304);
    }
}
