"""What a server accepts, and how it refuses the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

# labels a text; of an explanation, which is an answer of labels x words; and characters of its text
MAX_K, MAX_K_EXPLAINED, MAX_CHARACTERS_EXPLAINED = 1_000, 20, 20_000
MAX_LABELS = 100_000  # of all texts of a request together
BODIES_AT_ONCE = 16  # of the largest size: what requests may have in memory together


class RefusalError(Exception):
    """A request that gets no answer, with the status and the words that say why."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.headers = status, dict(headers or {})


@dataclass(frozen=True)
class Limits:
    """The largest request, the longest queue, the longest wait."""

    max_bytes: int = field(default=8 << 20, metadata={"help": "Bytes of a request."})
    max_characters: int = field(default=200_000, metadata={"help": "Characters of a text."})
    max_texts: int = field(default=1_000, metadata={"help": "Texts of a request."})
    max_waiting: int = field(
        default=2_000, metadata={"help": "Texts that wait, of all requests together."}
    )
    max_seconds: int = field(
        default=30, metadata={"help": "Seconds until a request that has no answer gets an error."}
    )

    def check(self) -> None:
        """Raise for a limit that would let nothing through."""
        for option in fields(self):
            if (value := getattr(self, option.name)) < 1:
                raise ValueError(f"--{option.name} is {value}. Pass at least 1.")
        if self.max_waiting < self.max_texts:
            raise ValueError(
                f"--max_waiting is {self.max_waiting}, fewer than the {self.max_texts} texts that "
                f"one request may have. Pass at least as many, or a lower --max_texts."
            )
