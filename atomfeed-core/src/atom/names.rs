//! Names of elements, and the namespaces they are in (Namespaces in XML 1.0).

use std::borrow::Cow;

use super::ATOM_NAMESPACE;

/// The elements of Atom that this module reads (RFC 4287 §4), in whatever prefix they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    Author,
    Category,
    Content,
    Entry,
    Feed,
    Generator,
    Id,
    Link,
    Name,
    Published,
    Title,
    Updated,
    /// Any other element of Atom, and all elements of other namespaces.
    Other,
}

impl Element {
    fn of_atom(local_name: &str) -> Self {
        match local_name {
            "author" => Self::Author,
            "category" => Self::Category,
            "content" => Self::Content,
            "entry" => Self::Entry,
            "feed" => Self::Feed,
            "generator" => Self::Generator,
            "id" => Self::Id,
            "link" => Self::Link,
            "name" => Self::Name,
            "published" => Self::Published,
            "title" => Self::Title,
            "updated" => Self::Updated,
            _ => Self::Other,
        }
    }
}

/// The namespace declarations of the elements that are open: one in most documents, so a list.
#[derive(Debug, Default)]
pub(super) struct Namespaces<'a> {
    declared: Vec<Declaration<'a>>,
}

#[derive(Debug)]
struct Declaration<'a> {
    /// How deep the element is that has it; the root's depth is 1.
    depth: usize,
    /// `None` for the default namespace. Not an empty text: to compare two of those takes libc's
    /// `memcmp` longer than all else here.
    prefix: Option<&'a str>,
    /// Empty where the prefix, or the default, is taken back.
    uri: Cow<'a, str>,
    is_atom: bool,
}

impl<'a> Namespaces<'a> {
    /// Takes an attribute of an element at `depth` that may be a declaration.
    // Not `&str`, which would not be lent for long enough.
    #[allow(clippy::ptr_arg)]
    pub(super) fn declare(&mut self, depth: usize, attribute: &'a str, uri: &Cow<'a, str>) {
        let prefix = match attribute.strip_prefix("xmlns") {
            Some("") => None,
            Some(prefixed) if prefixed.starts_with(':') => Some(&prefixed[1..]),
            _ => return,
        };
        let is_atom = uri == ATOM_NAMESPACE;
        self.declared.push(Declaration {
            depth,
            prefix,
            uri: uri.clone(),
            is_atom,
        });
    }

    /// Forgets the declarations of the elements below `depth`, which have been closed.
    pub(super) fn close_to(&mut self, depth: usize) {
        while self.declared.last().is_some_and(|last| last.depth > depth) {
            self.declared.pop();
        }
    }

    /// How many declarations are in force.
    pub(super) fn len(&self) -> usize {
        self.declared.len()
    }

    /// Which element of Atom a name means here.
    pub(super) fn element(&self, name: &str) -> Element {
        // Names of Atom have no colon: most often there is no need to look for one.
        let (prefix, element) = match Element::of_atom(name) {
            Element::Other => {
                let (prefix, local_name) = split(name);
                (prefix, Element::of_atom(local_name))
            }
            element => (None, element),
        };
        match self.find(prefix) {
            Some(declaration) if declaration.is_atom => element,
            _ => Element::Other,
        }
    }

    /// The namespace that a name is in.
    pub(super) fn uri(&self, name: &str) -> Option<&str> {
        let declaration = self.find(split(name).0)?;
        Some(declaration.uri.as_ref()).filter(|uri| !uri.is_empty())
    }

    fn find(&self, prefix: Option<&str>) -> Option<&Declaration<'a>> {
        self.declared
            .iter()
            .rev()
            .find(|declaration| declaration.prefix == prefix)
    }
}

/// Whether this can be the name of an element or an attribute (XML 1.0 §2.3). Beyond ASCII
/// everything passes: such a name is none that is looked for.
pub(super) fn is_name(name: &str) -> bool {
    let begins = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b':' | 0x80..);
    let continues = |byte: u8| begins(byte) || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    name.bytes().next().is_some_and(begins) && name.bytes().all(continues)
}

/// Prefix and local name.
fn split(name: &str) -> (Option<&str>, &str) {
    match name.bytes().position(|byte| byte == b':') {
        Some(colon) => (Some(&name[..colon]), &name[colon + 1..]),
        None => (None, name),
    }
}
