"""A content policy for a support desk: nobody is recognised, and no card number is read out.

LLAVA_JOBS_POLICY=examples.policy:PrivacyPolicy, with this repository in PYTHONPATH.
"""

import re
from collections.abc import Iterator

from worker.engine import Request
from worker.policy import Refusal

_PERSON = Refusal("person", "This service does not say who a person is.")
_CARD_ASKED = Refusal("card_asked", "This service does not read card numbers.")
_CARD_READ = Refusal("card_read", "The answer looked like a card number and is not shown.")

_WHO = re.compile(
    r"\bwho(?:'s|se face| is| are| was)?\b.{0,40}\b(?:person|people|man|woman|boy|girl|guy|lady)\b"
    r"|\bwho (?:is|are|was) (?:this|that|he|she|they|it)\b"
    r"|\b(?:identify|recogni[sz]e|name)\b.{0,20}\b(?:person|people|man|woman|boy|girl|face)\b"
    r"|[他她这那][个位]?人?是谁|谁的脸",
    re.IGNORECASE | re.DOTALL,
)
_CARD = re.compile(
    r"\b(?:card|account)\W{0,2}(?:number|no\b)|\b(?:cvv|cvc|iban)\b|卡号|银行账号", re.IGNORECASE
)
_DIGITS = re.compile(r"(?<!\d)\d(?:[ \-.]?\d){12,18}(?!\d)")


class PrivacyPolicy:
    """Refuses by what the words say: a first line, not a wall. It knows English and Chinese."""

    def before(self, request: Request) -> Refusal | None:
        """Refuse to say who somebody is, and to read card numbers."""
        asked = "\n".join(_texts(request))
        if _WHO.search(asked):
            return _PERSON
        return _CARD_ASKED if _CARD.search(asked) else None

    def after(self, request: Request, answer: str) -> Refusal | None:
        """Refuse an answer with digits that could be a card's."""
        del request
        is_card = any(_checks(found[0]) for found in _DIGITS.finditer(answer))
        return _CARD_READ if is_card else None


def _texts(request: Request) -> Iterator[str]:
    """Everything that the user says in the conversation."""
    for turn in request.conversation:
        if turn.role == "user":
            yield from (part for part in turn.parts if isinstance(part, str))


def _checks(written: str) -> bool:
    """Whether the digits have the checksum of card numbers (Luhn, ISO/IEC 7812-1)."""
    digits = [int(character) for character in reversed(written) if character.isdecimal()]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0
