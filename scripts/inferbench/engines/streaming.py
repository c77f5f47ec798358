"""Tokens handed from the thread that decodes to the one that shows them, each as soon as it is there.

One sequence at a time. A token is its id, an int on the host.
"""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue

from transformers.generation.streamers import BaseStreamer

from inferbench.engines.protocol import Stepper
from inferbench.models.prompts import PromptBatch

#: What decodes to it is no character: the bytes that would complete it are still to come.
UNFINISHED = "\ufffd"


class StreamClosed(RuntimeError):
    """Nobody reads this stream any more."""


class TokenStream(BaseStreamer):
    """A streamer with a queue: one thread puts tokens, another iterates over them until the end."""

    def __init__(self):
        self._queue: SimpleQueue[int | None] = SimpleQueue()
        self._closed = False

    def put(self, value: int) -> None:
        """Hand a token over. Raises StreamClosed once the reader has left."""
        if self._closed:
            raise StreamClosed
        self._queue.put(value)

    def end(self) -> None:
        self._queue.put(None)

    def close(self) -> None:
        """The reader leaves: decoding ends with the next token."""
        self._closed = True

    def __iter__(self) -> Iterator[int]:
        return iter(self._queue.get, None)


class TextPieces:
    """Token ids to text, piece by piece: the pieces joined are the text of all tokens."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        # Tokens whose text is out, of which the last ones are decoded again with the next: some
        # tokenizers write a token otherwise where nothing stands before it.
        self._before: list[int] = []
        self._waiting: list[int] = []

    def add(self, token: int) -> str:
        """The text that this token completes; empty while a character still lacks bytes."""
        self._waiting.append(token)
        text = self._text()
        if not text or text.endswith(UNFINISHED):
            return ""
        self._before, self._waiting = self._waiting, []
        return text

    def end(self) -> str:
        """The text of what still waits, without the character that never became whole."""
        return self._text().rstrip(UNFINISHED)

    def _text(self) -> str:
        before, both = (
            self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            for tokens in (self._before, self._before + self._waiting)
        )
        return both[len(before) :]


def new_tokens(
    decoder: Stepper, batch: PromptBatch, most: int, ends: frozenset[int] = frozenset()
) -> Iterator[int]:
    """The new tokens of a batch of one, each read back before the next step starts: `most` of them, or up
    to and with the first of `ends`."""
    token = decoder.prefill(batch)
    for count in range(1, most + 1):
        [[read]] = token.tolist()
        yield read
        if read in ends or count == most:
            return
        token = decoder.step(token)


def stream_tokens(stream: TokenStream, tokens: Iterator[int]) -> None:
    """Put every token into the stream, and its end, whatever happens."""
    try:
        for token in tokens:
            stream.put(token)
    finally:
        stream.end()
