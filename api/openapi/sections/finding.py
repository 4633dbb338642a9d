"""Jobs found again: lists, groups, and the feed of what happened."""

from __future__ import annotations

from api.http.queries import EventsQuery, GroupQuery, JobsQuery
from api.openapi import examples
from api.openapi.answers import JobEventList, JobList
from api.openapi.error_codes import at_their_status
from api.openapi.examples import listed
from api.openapi.group_answers import ErasedGroup, GroupJobs, GroupReceipts
from api.openapi.operation import Answer, Link, Operation, Section
from api.openapi.parameters import PREFER, named, of_query

_GROUP = named("name", "the group", examples.GROUP)
_EVENT = {
    "id": "1764063000000-0",
    "job": examples.JOB_ID,
    "status": "succeeded",
    "reason": None,
    "at": "2026-11-25T09:30:02.050Z",
}

SECTION = Section(
    "Lists, groups and events",
    "Your jobs, found by status, by group or by id, and every change of them in order.",
    (
        Operation(
            "GET /v1/jobs",
            "list_jobs",
            "List jobs",
            detail="Newest first; jobs in lists have no `queue`. Pass `next` as `after` until it "
            "is `null`. A `status` that few jobs have may give pages that are not full.",
            parameters=of_query(
                JobsQuery,
                status="succeeded",
                group=examples.GROUP,
                ids=examples.JOB_ID,
                limit=50,
                after=examples.JOB_ID,
            ),
            answers=(
                Answer(
                    200,
                    "a page of jobs",
                    JobList,
                    listed({**examples.SUCCEEDED}),
                    links=(
                        Link("list_jobs", {"after": "$response.body#/next"}),
                        Link("get_job", {"job_id": "$response.body#/data/0/id"}),
                    ),
                ),
            ),
            errors=at_their_status("conflicting_fields", "too_many_ids", "cursor_expired"),
        ),
        Operation(
            "POST /v1/groups/{name}/cancel",
            "cancel_group",
            "Stop all jobs of a group",
            detail="Newest first, up to 1,000 a call: where `remaining` is not 0, pass `next` as "
            "`after` until it is `null`.",
            parameters=(_GROUP, *of_query(GroupQuery, after=examples.JOB_ID)),
            answers=(
                Answer(
                    200,
                    "the group's jobs",
                    GroupJobs,
                    listed({**examples.CANCELED}, remaining=0),
                    links=(
                        Link(
                            "cancel_group",
                            {"name": "$request.path.name", "after": "$response.body#/next"},
                        ),
                    ),
                    receipt=GroupReceipts,
                ),
            ),
            errors=at_their_status("group_not_found", "cursor_expired"),
        ),
        Operation(
            "DELETE /v1/groups/{name}",
            "erase_group",
            "Erase all jobs of a group",
            detail="Up to 1,000 a call, newest first: after a 202, call again until it is a 204.",
            parameters=(_GROUP,),
            answers=(
                Answer(204, "erased"),
                Answer(
                    202,
                    "some are there still: call again",
                    ErasedGroup,
                    {"object": "group", "erased": 1000, "remaining": 200},
                ),
            ),
            errors=at_their_status("group_not_found"),
        ),
        Operation(
            "GET /v1/events",
            "list_events",
            "Hear of all changes",
            detail="One poll instead of one for each job: begin without `after`, go on with "
            "`next`, and send `Prefer: wait=N` to be answered when something happens.",
            parameters=(*of_query(EventsQuery, after="1764063000000-0", limit=200), PREFER),
            answers=(
                Answer(
                    200,
                    "what happened behind the cursor",
                    JobEventList,
                    listed(_EVENT, next="1764063000000-0", gap=False),
                    headers=("Retry-After", "Preference-Applied"),
                    links=(Link("list_events", {"after": "$response.body#/next"}),),
                ),
            ),
        ),
    ),
)
