"""Single tokens as text a person can read."""

from __future__ import annotations

from typing import Any

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def _byte_of_letter() -> dict[str, int]:
    """The letters that stand for bytes in byte-level vocabularies (Radford et al. 2019)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    letters = {chr(byte): byte for byte in shown}
    return letters | {chr(256 + place): byte for place, byte in enumerate(hidden)}


class TokenText:
    """The text of a token id as it stands in the middle of a text, spaces included.

    Tokens that are a part of a character only are written as their bytes: ``\\xe2\\x94``.

    Parameters
    ----------
    tokenizer : a fast Hugging Face tokenizer.
    """

    _letters = _byte_of_letter()

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer
        self._known: dict[int, str] = {}
        # SentencePiece and WordPiece drop or add a space at the beginning, so each token is decoded
        # behind another one.
        self._before = tokenizer("a", add_special_tokens=False)["input_ids"][-1:]
        self._before_text = self._decode(self._before)

    def __call__(self, token: int) -> str:
        """The text of token id `token`."""
        if token not in self._known:
            self._known[token] = self._text(token)
        return self._known[token]

    def _text(self, token: int) -> str:
        text = self._decode([*self._before, token])
        text = text.removeprefix(self._before_text) if self._before else text
        return self._bytes(token) if _REPLACEMENT in text or not text else text

    def _bytes(self, token: int) -> str:
        written = self._tokenizer.convert_ids_to_tokens(token) or f"<token {token}>"
        if not all(letter in self._letters for letter in written):
            return written
        data = bytes(self._letters[letter] for letter in written)
        return data.decode("utf-8", errors="backslashreplace")

    def _decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, clean_up_tokenization_spaces=False)
