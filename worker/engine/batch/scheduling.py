"""Which running requests take part in the next step."""

from typing import Any

from transformers.generation.continuous_batching import FIFOScheduler, RequestStatus


class PhaseScheduler(FIFOScheduler):
    """Either reads prompts or generates, never both in one step; prompts come first.

    One prompt among a hundred requests that generate would push all of them off the path that reads
    keys straight from their pages, and off captured graphs. Prompts first, since the sooner a
    request generates the fuller the steps that follow; slots bound how long that takes.
    """

    def schedule_batch(
        self, token_budget: int, cache_budget: int
    ) -> tuple[list[Any] | None, bool, int, int]:
        """Choose requests for the next step, in the terms of the stock scheduler."""
        active = list(self.active_requests.values())
        reading = [state for state in active if state.status == RequestStatus.PREFILLING]
        reading += self._get_waiting_candidates()
        speaking = [state for state in active if state.status == RequestStatus.DECODING]
        denied = fast = False
        for candidates in (reading, speaking):
            taken: set[str] = set()
            chosen, denied, fast, tokens, known = self._process_candidates(
                candidates, token_budget, cache_budget, taken
            )
            self._cleanup_waiting_queue(taken)
            if chosen:
                return chosen, fast, tokens, known
        return (None if denied else []), fast, 0, 0
