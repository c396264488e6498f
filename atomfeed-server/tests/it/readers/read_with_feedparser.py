"""Reads pages with feedparser: a line of standard input names a file, a line of output says what is in it."""

import json
import sys

import feedparser

# What it makes of markup is another matter.
feedparser.api.SANITIZE_HTML = 0
feedparser.api.RESOLVE_RELATIVE_URIS = 0

HEADERS = {"content-type": "application/atom+xml; charset=utf-8"}

for line in sys.stdin:
    with open(line.rstrip("\n"), "rb") as page:
        parsed = feedparser.parse(page.read(), response_headers=HEADERS)
    print(
        json.dumps(
            {
                "fault": repr(parsed.bozo_exception) if parsed.bozo else None,
                "version": parsed.version,
                "id": parsed.feed.id,
                "title": parsed.feed.title,
                "updated": parsed.feed.updated,
                "is_archive": "fh_archive" in parsed.feed,
                "links": [[link.rel, link.href] for link in parsed.feed.links],
                "entries": [
                    {
                        "id": entry.id,
                        "title": entry.get("title", ""),
                        "content": entry.content[0].value if "content" in entry else "",
                        "updated": entry.updated,
                        "published": entry.published,
                        "categories": [tag.term for tag in entry.get("tags", [])],
                    }
                    for entry in parsed.entries
                ],
            }
        ),
        flush=True,
    )
