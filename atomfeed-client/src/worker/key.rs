use atomfeed_core::Event;
use url::Url;

/// The resource that an event names: the path of the URL that its content is, without query, fragment
/// or trailing slash. `None` where the content is no URL, or names no path.
///
/// ```
/// use atomfeed_client::{Event, resource_key};
/// use atomfeed_core::EntryId;
///
/// let key = |content: &str| {
///     let event = Event::new(EntryId::of_event("1"), "http://emr/feed/recent".parse().unwrap());
///     resource_key(&event.with_text("Patient", content))
/// };
/// let patient = Some("/openmrs/ws/rest/v1/patient/1".to_owned());
/// assert_eq!(key("/openmrs/ws/rest/v1/patient/1?v=full"), patient);
/// assert_eq!(key("http://emr/openmrs/ws/rest/v1/patient/1/#name"), patient);
/// assert_eq!(key(r#"{"patient": 1}"#), None);
/// ```
pub fn resource_key(event: &Event) -> Option<String> {
    let content = event.content().trim();
    let is_url = content.starts_with('/') || content.contains("://");
    // A document may hold a URL, and be none.
    if !is_url || content.len() > 8_000 || content.contains(|c: char| c.is_whitespace() || c == '<')
    {
        return None;
    }
    let nowhere = Url::parse("http://localhost/").ok()?;
    let url = nowhere.join(content).ok()?;
    let path = url.path().trim_end_matches('/');
    (!path.is_empty()).then(|| path.to_owned())
}
