"""All pages: their routes, and what stands before and behind every one of them."""

from __future__ import annotations

import redis
from flask import Blueprint, Flask

from api.console import asking, entrance, job_pages, key_pages, operations, refusals, taste
from api.console.guard import admit
from api.console.protection import protect
from api.console.spans import clock, span
from api.representation import moment
from jobs.keys import Keys
from jobs.rates import Rates
from jobs.sessions import Sessions
from jobs.settings import Settings


def init_app(app: Flask, client: redis.Redis, settings: Settings) -> None:
    """Have an application serve the pages, which see nothing but their visitor's session."""
    keys: Keys = app.extensions["keys"]
    app.extensions["sessions"] = Sessions(client, keys, settings.session_s)
    app.extensions["sign_ins"] = Rates(client, settings.sign_ins_per_minute)
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    bp = Blueprint("pages", __name__)
    for routes in (entrance, taste, asking, job_pages, operations, key_pages):
        bp.register_blueprint(routes.bp)
    bp.before_request(admit)
    bp.after_request(protect)
    bp.add_app_template_filter(moment, "rfc3339")
    bp.add_app_template_filter(clock, "clock")
    bp.add_app_template_filter(span, "span")
    refusals.init_app(app, bp)
    app.register_blueprint(bp)
