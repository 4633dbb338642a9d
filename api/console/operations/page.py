"""The page of operations: what the installation does, and the controls of those who run it."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, request, url_for
from werkzeug.wrappers import Response

from api.console.i18n import chosen
from api.console.operations.charts import hour, took
from api.console.operations.overview import overview
from api.console.rendering import is_part, page
from api.console.sizes import size
from api.jobs.actions import ask_any_again, ask_failed_again
from api.services import services
from jobs.drain import Drain
from jobs.errors import NotFound
from jobs.failures import REASONS
from jobs.job import Reason
from jobs.tenants import is_name

bp = Blueprint("operations", __name__, url_prefix="/console")
bp.add_app_template_filter(size, "size")

DONE = frozenset(
    {
        *("paused", "resumed", "drained", "handing_back", "undrained", "retried", "retried_one"),
        "no_tenant",
    }
)
"""What a form may have done, as the page that follows says it."""


@bp.get("")
def show() -> Response:
    """Show everything, or to htmx what changes by itself."""
    seen = overview(chosen())
    if is_part():
        return page("_operations_live.html", seen=seen, took=took, hour=hour)
    done = request.args.get("done")
    counts = {name: _count(name) for name in ("retried", "kept", "left", "skip")}
    reason = request.args.get("reason")
    return page(
        "operations.html",
        seen=seen,
        took=took,
        hour=hour,
        done=done if done in DONE else None,
        counts=counts,
        reason=reason if reason in REASONS else None,
    )


@bp.post("/intake")
def change_intake() -> Response:
    """Pause or resume the intake of jobs, of everybody or of a tenant."""
    intake = services().operations.intake
    tenant = request.form.get("tenant", "").strip() if request.form.get("whose") else None
    if tenant is not None and not is_name(tenant):
        return _back("no_tenant")
    if request.form.get("do") == "resume":
        intake.resume(tenant)
        return _back("resumed")
    intake.pause(tenant)
    return _back("paused")


@bp.post("/workers")
def change_worker() -> Response:
    """Drain a worker, or have it go on."""
    drains, name = services().operations.drains, request.form.get("worker", "")
    word = request.form.get("do")
    if word == "resume":
        drains.resume(name)
        return _back("undrained")
    how = Drain.HAND_BACK if word == "hand_back" else Drain.FINISH
    drains.drain(name, how)
    return _back("handing_back" if how is Drain.HAND_BACK else "drained")


@bp.post("/failures")
def retry_failures() -> Response:
    """Ask again what failed for a reason, as many as one call takes."""
    reason = request.form.get("reason", "")
    if reason not in REASONS:
        raise NotFound("jobs fail for these reasons: " + ", ".join(REASONS))
    skip = request.form.get("skip", "0")
    bulk = ask_failed_again(Reason(reason), int(skip) if skip.isdecimal() and len(skip) < 10 else 0)
    kept = sum(bulk.kept.values())
    counts = {"retried": len(bulk.retried), "kept": kept, "left": bulk.left, "skip": bulk.skip}
    return _back("retried", reason=reason, **counts)


@bp.post("/failures/job")
def retry_job() -> Response:
    """Ask one failed job again."""
    ask_any_again(request.form.get("job", ""))
    return _back("retried_one")


def _back(done: str, **values: Any) -> Response:
    return redirect(url_for("pages.operations.show", done=done, **values), 303)


def _count(name: str) -> int:
    text = request.args.get(name, "0")
    return int(text) if text.isdecimal() and len(text) < 10 else 0
