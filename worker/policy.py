"""The content policy: refuses questions before the model, and its answers before they are told."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Protocol, runtime_checkable

import structlog

from jobs.errors import ConfigurationError
from jobs.settings import Settings
from worker.engine import Request

_log = structlog.get_logger()
_RULE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_LONGEST_MESSAGE = 300


@dataclass(frozen=True)
class Refusal:
    """Why a job is refused: ``rule`` is a stable code, ``message`` one sentence for its submitter.

    Both are stored and shown: they must quote nothing of what was asked or answered. Raises
    ValueError for a rule that is no code, and for a message of no or too many characters.
    """

    rule: str
    message: str

    def __post_init__(self) -> None:
        if not _RULE.fullmatch(self.rule):
            raise ValueError("a refusal's rule is a code such as card_number")
        if not 0 < len(self.message) <= _LONGEST_MESSAGE:
            raise ValueError(f"a refusal's message has 1 to {_LONGEST_MESSAGE} characters")


@runtime_checkable
class JudgesRequests(Protocol):
    """A policy that sees what is asked, before the model does."""

    def before(self, request: Request) -> Refusal | None:
        """Return why a job is refused; None to have it answered.

        ``request`` has the turns of the conversation with their texts and pictures, and the tenant
        as its ``scope``. Called from many threads at once.
        """


@runtime_checkable
class JudgesAnswers(Protocol):
    """A policy that sees what is answered, before anybody else does."""

    def after(self, request: Request, answer: str) -> Refusal | None:
        """Return why an answer is kept back; None to have it told. Called from many threads."""


Policy = JudgesRequests | JudgesAnswers


class PolicyFailed(Exception):
    """Raised when a policy could not judge: the job is tried again, and never told unjudged."""

    code = "policy_failed"
    message = "the content policy could not judge this job"


class Guard:
    """Asks a policy, and waits for its word for ``timeout_s`` at most.

    The policy runs in threads of its own: neither the engine's nor one that holds a slot ever hangs
    with it. A thread that hangs cannot be stopped, so that there are never more than ``at_once``;
    the next job then finds the policy too slow.
    """

    def __init__(self, policy: Policy, timeout_s: float, at_once: int) -> None:
        self._policy = policy
        self._timeout_s = timeout_s
        self._places = threading.BoundedSemaphore(at_once)

    @property
    def judges_answers(self) -> bool:
        """Whether nothing of an answer may be told before all of it has been judged."""
        return isinstance(self._policy, JudgesAnswers)

    def before(self, request: Request) -> Refusal | None:
        """Return why a job is not to be answered, if it is not; raises PolicyFailed."""
        if not isinstance(self._policy, JudgesRequests):
            return None
        return self._ask(partial(self._policy.before, request))

    def after(self, request: Request, answer: str) -> Refusal | None:
        """Return why an answer is not to be told, if it is not; raises PolicyFailed."""
        if not isinstance(self._policy, JudgesAnswers):
            return None
        return self._ask(partial(self._policy.after, request, answer))

    def _ask(self, judge: Callable[[], Refusal | None]) -> Refusal | None:
        give_up = time.monotonic() + self._timeout_s
        if not self._places.acquire(timeout=self._timeout_s):
            _log.warning("policy_failed", error="as many of its calls hang as may run")
            raise PolicyFailed
        word: Future[Refusal | None] = Future()
        threading.Thread(target=self._run, args=(judge, word), name="policy", daemon=True).start()
        try:
            refusal = word.result(max(0.0, give_up - time.monotonic()))
        except BaseException as error:  # noqa: BLE001 - whatever is wrong with it, it judged nothing
            _log.warning("policy_failed", error=type(error).__name__, exc_info=True)
            raise PolicyFailed from None
        if refusal is not None and not isinstance(refusal, Refusal):
            _log.warning("policy_failed", error=f"it returned a {type(refusal).__name__}")
            raise PolicyFailed
        return refusal

    def _run(self, judge: Callable[[], Refusal | None], word: Future[Refusal | None]) -> None:
        try:
            word.set_result(judge())
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            word.set_exception(error)
        finally:
            self._places.release()


def load_guard(settings: Settings) -> Guard | None:
    """Return the guard of the policy in ``settings``; None where there is none.

    Raises ConfigurationError where the policy cannot be loaded, or judges nothing.
    """
    if not settings.policy:
        return None
    policy = _made(settings.policy)
    if not isinstance(policy, JudgesRequests | JudgesAnswers):
        raise ConfigurationError(
            f"the class that LLAVA_JOBS_POLICY names ({settings.policy}) has neither a method "
            "`before` nor a method `after`; see docs/policy.md"
        )
    return Guard(policy, settings.policy_timeout_s, settings.slots or 1)


def _made(name: str) -> object:
    module, _, attribute = name.partition(":")
    try:
        if not (module and attribute):
            raise ValueError("it is not of the form module:Class")  # noqa: TRY301
        return getattr(import_module(module), attribute)()
    except Exception as error:
        raise ConfigurationError(
            f"LLAVA_JOBS_POLICY names {name!r}, which cannot be loaded "
            f"({type(error).__name__}: {error}); name a class that can be made without arguments "
            "as module:Class, and the folder that holds the module in PYTHONPATH"
        ) from error
