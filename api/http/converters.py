"""Names within paths of URLs: whatever a caller has named a thing, it can be called by."""

from __future__ import annotations

from flask import Flask
from werkzeug.routing import PathConverter


class _AnyText(PathConverter):
    """Matches what werkzeug's own ``path`` does, and slashes at the start and new lines as well."""

    part_isolating = False
    regex = "(?s:.+?)"


def init_app(app: Flask) -> None:
    """Give routes the converter ``text``, and take paths as they came; before there are routes."""
    app.url_map.converters["text"] = _AnyText
    app.url_map.merge_slashes = False
