"""All pages: their routes, and what stands before and behind every one of them."""

from __future__ import annotations

import redis
from flask import Blueprint, Flask

from api.console import ask, errors, jobs, login, preferences
from api.console.access.authorization import admit
from api.console.access.security_headers import protect
from api.console.formatting import clock, span
from api.console.operations import keys as key_pages
from api.console.operations import page
from api.jobs.response import moment
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
    for routes in (login, preferences, ask, jobs, page, key_pages):
        bp.register_blueprint(routes.bp)
    bp.before_request(admit)
    bp.after_request(protect)
    bp.add_app_template_filter(moment, "rfc3339")
    bp.add_app_template_filter(clock, "clock")
    bp.add_app_template_filter(span, "span")
    errors.init_app(app, bp)
    app.register_blueprint(bp)
