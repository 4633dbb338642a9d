"""Prints the description: `python -m api.openapi` as OpenAPI, with `--markdown` for docs/api.md."""

from __future__ import annotations

import json
import sys

from api.openapi.document import document
from api.openapi.markdown import markdown

if sys.argv[1:] == ["--markdown"]:
    sys.stdout.write(markdown())
else:
    sys.stdout.write(json.dumps(document(), indent=2, ensure_ascii=False) + "\n")
