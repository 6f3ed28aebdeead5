"""TCT-ColBERT's encoder: one vector per text, the mean of the hidden states of some tokens, not normalised.

A query is the text `[CLS] [Q] words [MASK] ...` of 36 tokens, a passage `[CLS] [D] words`. Both are read as text: [CLS]
and [MASK] are tokens of the vocabulary, `[Q]` is three, `[`, `q` and `]`, and there is no [SEP]. The mean leaves
out the first four tokens and includes all others, a query's masks too; attention sees all. A passage without words has
the vector 0.

Source  Lin et al. 2020, arXiv:2010.11386, section 3; castorini/pyserini, pyserini/encode/_tct_colbert.py
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotte.errors import MismatchError
from retrievers.colbert.model.checkpoint import Checkpoint
from retrievers.colbert.model.config import ModelConfig
from retrievers.colbert.model.encoder import Encoder, ModelCopy
from retrievers.colbert.model.tokens import Tokens, load, reported

QUERY, DOC, MASK = "[CLS] [Q] ", "[CLS] [D] ", "[MASK]"
MARKED = 4  # first tokens, which are in no mean
QUERY_MAXLEN, DOC_MAXLEN = 32 + MARKED, 150 + MARKED


class TctTokens:
    """The tokenizer of one model, with its two ways to read a text. What is kept is what the mean is of.

    path    a tokenizer.json, or a vocab.txt of BERT's word pieces
    config  lengths

    Raises  MismatchError if the vocabulary reads the markers otherwise, or a length leaves no room for words
    """

    def __init__(self, path: Path, config: ModelConfig) -> None:
        # two of them: the length is a setting of the tokenizer, and a thread may read documents during a search
        self._query_tokenizer, self._doc_tokenizer = load(path), load(path)
        self.path, self._query_maxlen = path, config.query_maxlen
        cls, mask = (self._query_tokenizer.token_to_id(token) for token in ("[CLS]", MASK))
        for marker in (QUERY, DOC):
            read = self._query_tokenizer.encode(marker + MASK, add_special_tokens=False).ids
            if (len(read), read[0], read[-1]) != (MARKED + 1, cls, mask):
                raise MismatchError(
                    f"{path} reads {marker.strip()!r} as {len(read) - 1} tokens, and TCT-ColBERT's first {MARKED} are "
                    "[CLS], a bracket, a letter and a bracket: it is not a tokenizer of BERT"
                )
        for side, reader, maxlen in (
            ("query", self._query_tokenizer, config.query_maxlen),
            ("doc", self._doc_tokenizer, config.doc_maxlen),
        ):
            if maxlen <= MARKED:
                raise MismatchError(f"{side}_maxlen={maxlen} leaves no room for words: {MARKED} are always there")
            reader.enable_truncation(max_length=maxlen)

    @property
    def size(self) -> int:
        """Return how many tokens the vocabulary has, added ones too."""
        found: int = self._query_tokenizer.get_vocab_size(with_added_tokens=True)
        return found

    def queries(self, texts: Sequence[str]) -> Tokens:
        """Return the tokens of queries, filled up with masks."""
        return self._read(self._query_tokenizer, [f"{QUERY}{text}{MASK * self._query_maxlen}" for text in texts])

    def docs(self, texts: Sequence[str]) -> Tokens:
        """Return the tokens of passages."""
        return self._read(self._doc_tokenizer, [f"{DOC}{text}" for text in texts])

    def _read(self, reader: Any, texts: list[str]) -> Tokens:
        # an unpaired surrogate, which no UTF-8 has, becomes a question mark
        given = [text.encode("utf-8", "replace").decode() for text in texts]
        with reported(f"{self.path}: the tokenizer cannot read a text"):
            rows = [np.array(read.ids, np.int64) for read in reader.encode_batch_fast(given, add_special_tokens=False)]
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        starts = np.concatenate([[0], np.cumsum(lengths)])
        place = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
        return Tokens(np.concatenate([*rows, np.empty(0, np.int64)]), starts, lengths, place >= MARKED)


class TctEncoder(Encoder):
    """A model that gives a text one vector."""

    def __init__(self, checkpoint: Checkpoint, *args: Any, **more: Any) -> None:
        if checkpoint.steps():
            raise MismatchError(
                f"{checkpoint.name} has a projection: it gives a vector for each token, and is for colbert or "
                "colbertv2; `lotte train tct_colbert` makes one for tct_colbert"
            )
        super().__init__(checkpoint, *args, **more)

    def queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return (B, I), a vector for each text."""
        return self.encode(self.tokens.queries(texts)).vectors

    @property
    def numbers(self) -> Any:
        """Return the kind of number that documents have."""
        return np.float32  # of any size, and only one a text

    def _reader(self, checkpoint: Checkpoint) -> TctTokens:
        return TctTokens(checkpoint.tokenizer, checkpoint.settings)

    def _starts(self, tokens: Tokens) -> NDArray[np.int64]:
        return np.arange(len(tokens.starts))

    def _values(self, lane: ModelCopy, tokens: Tokens, texts: NDArray[np.int64]) -> NDArray[np.float32]:
        return means(lane.hidden(tokens, texts), np.diff(tokens.kept_starts())[texts])


def means(hidden_NI: NDArray[np.float32], lengths_B: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return (B, I), the mean of the rows of each text, which stand end to end; 0 for a text that has none."""
    out = np.zeros((len(lengths_B), hidden_NI.shape[1]), np.float32)
    full = lengths_B > 0
    begins = (np.cumsum(lengths_B) - lengths_B)[full]
    if len(begins):
        out[full] = np.add.reduceat(hidden_NI, begins, axis=0) / lengths_B[full, None]
    return out
