"""A document as one page of HTML that needs nothing else: no network, no other file.

The document is inside, compressed and in base64, so that no text of it can be taken for markup; the page's own script
unpacks it and writes all text as text. A policy of the page's own (CSP) lets only that script and that style be used.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import zlib
from importlib import resources
from typing import Any

BEGINS = b"<!DOCTYPE html>\n<!-- fpstate report -->\n"
"""How every page of ours begins."""
STYLE = "page.css"
SCRIPTS = ("dom.js", "compare.js", "timeline.js", "safety.js", "page.js")
"""The parts of the page's script, in the order in which they stand there."""


def page_of(document: dict[str, Any], title: str) -> bytes:
    """Return the page that shows a document."""
    raw = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    style = _part(STYLE)
    script = '"use strict";\n' + "\n".join(_part(name) for name in SCRIPTS)
    parts = {
        "title": html.escape(title),
        "policy": f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}",
        "style": style,
        "script": script,
        "document": base64.b64encode(zlib.compress(raw, 9 if len(raw) < 1 << 23 else 6)).decode(),
    }
    text = re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _part("page.html"))
    return BEGINS + text.encode()


def document_of(page: bytes) -> dict[str, Any]:
    """Return the document that a page shows."""
    found = re.search(rb'<script id="document" type="text/plain">([^<]*)</script>', page)
    assert found, "a page of ours has a document"
    document = json.loads(zlib.decompress(base64.b64decode(found[1])))
    assert isinstance(document, dict)
    return document


def _part(name: str) -> str:
    return (resources.files("fpstate.pictures") / "page" / name).read_text("utf-8")


def _digest(text: str) -> str:
    """Return how a content security policy names an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
