"""A content policy that misbehaves on request, for tests of workers that run under one."""

import threading

from examples.policy import PrivacyPolicy
from worker.engine import Request
from worker.policy import Refusal

CARD = "4111 1111 1111 1111"
BREAK, HANG, CODE = "Break the policy.", "Hang the policy.", "Read the fault code."


class Watchful(PrivacyPolicy):
    """The example, which breaks and hangs where it is asked to, and sees cards for some codes."""

    def before(self, request: Request) -> Refusal | None:
        """Break, hang, or judge."""
        question = request.conversation[-1].parts[-1]
        if question == BREAK:
            raise RuntimeError(question)
        if question == HANG:
            threading.Event().wait()
        return super().before(request)

    def after(self, request: Request, answer: str) -> Refusal | None:
        """Judge as if the demo model, which knows no cards, had read one."""
        if request.conversation[-1].parts[-1] == CODE:
            answer = answer.replace("E42", CARD)
        return super().after(request, answer)
