"""Texts to token ids for a late-interaction model: the marker, mask augmentation, which tokens get a vector.

A query is `[CLS] [Q] words [SEP] [MASK] ...`: the masks attend to the words, nothing
attends to the masks, and all of them get a vector. A document is
`[CLS] [D] words [SEP]`, and only punctuation gets no vector. Token ids are packed
end to end, so there is no padding that could leak.

Source  Khattab & Zaharia 2020, arXiv:2004.12832, section 3.2; ColBERT's query_tokenization.py, doc_tokenization.py
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotte import extras
from lotte.errors import CorruptFileError, MismatchError, reason, shown
from retrievers.colbert.model.config import Json, ModelConfig, read_json, setting

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Tokens(NamedTuple):
    """The token ids of some texts, end to end; text i is ids[starts[i]:starts[i + 1]]."""

    ids: NDArray[np.int64]  # (N,)
    starts: NDArray[np.int64]  # (B + 1,)
    seen: NDArray[np.int64]  # (B,): how many of a text's first tokens the others look at
    kept: NDArray[np.bool_]  # (N,): which tokens get a vector

    def kept_starts(self) -> NDArray[np.int64]:
        """Return (B + 1,) offsets into the kept tokens alone."""
        return np.concatenate([[0], np.cumsum(self.kept)])[self.starts]

    def rows(self, texts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the places of some texts' tokens in `ids`, one text after the other."""
        return rows_of(self.starts, texts)


class TextTokens:
    """The tokenizer of one model, with its two ways to read a text.

    path    a tokenizer.json, or a vocab.txt of BERT's word pieces
    config  lengths, markers, skiplist

    Raises  MismatchError if the vocabulary lacks a marker, or a length leaves no room for words
    """

    def __init__(self, path: Path, config: ModelConfig) -> None:
        # two of them: the length is a setting of the tokenizer, and a thread may read documents during a search
        self._query_tokenizer, self._doc_tokenizer = load(path), load(path)
        self.path, self.config = path, config
        tokenizer = self._query_tokenizer
        self._query_marker, self._query_prompt = self._marker(path, config.query_marker, config.query_prompt)
        self._doc_marker, self._doc_prompt = self._marker(path, config.doc_marker, config.doc_prompt)
        self._skiplist = np.array(
            sorted(number for word in config.skiplist if (number := tokenizer.token_to_id(word)) is not None), np.int64
        )
        self._mask = self._mask_token(path) if config.expansion != "off" else -1
        for side, reader, maxlen, marker in (
            ("query", self._query_tokenizer, config.query_maxlen, self._query_marker),
            ("doc", self._doc_tokenizer, config.doc_maxlen, self._doc_marker),
        ):
            fixed = reader.num_special_tokens_to_add(False) + (marker is not None)
            if maxlen <= fixed:
                raise MismatchError(f"{side}_maxlen={maxlen} leaves no room for words: {fixed} tokens are always there")
            reader.enable_truncation(max_length=maxlen - (marker is not None))

    @property
    def size(self) -> int:
        """Return how many tokens the vocabulary has, added ones too."""
        found: int = self._query_tokenizer.get_vocab_size(with_added_tokens=True)
        return found

    def queries(self, texts: Sequence[str]) -> Tokens:
        """Return the tokens of queries: expanded with masks, unless the model was trained without; all are kept."""
        config, rows = self.config, self._rows(texts, query=True)
        seen = np.fromiter(map(len, rows), np.int64, len(rows))
        if config.expansion != "off":
            floor = config.query_maxlen if config.expansion == "fixed" else config.expansion_length
            rows = [row + [self._mask] * (floor - len(row)) for row in rows]
        ids, starts = _packed(rows)
        if config.attend_to_mask_tokens:
            seen = np.diff(starts)
        return Tokens(ids, starts, seen, np.ones(len(ids), np.bool_))

    def docs(self, texts: Sequence[str]) -> Tokens:
        """Return the tokens of documents. Punctuation is seen by its neighbours, but not kept."""
        ids, starts = _packed(self._rows(texts, query=False))
        return Tokens(ids, starts, np.diff(starts), ~np.isin(ids, self._skiplist))

    def strings(self, tokens: Tokens) -> Iterator[list[str]]:
        """Give, for each text, the kept tokens as the vocabulary spells them."""
        kept_starts, kept = tokens.kept_starts().tolist(), tokens.ids[tokens.kept].tolist()
        for begin, end in pairwise(kept_starts):
            yield self.spelled(kept[begin:end])

    def spelled(self, numbers: Iterable[int]) -> list[str]:
        """Return tokens, given by their numbers, as the vocabulary spells them."""
        return [self._query_tokenizer.id_to_token(number) or "[UNK]" for number in numbers]

    def _rows(self, texts: Sequence[str], *, query: bool) -> list[list[int]]:
        reader = self._query_tokenizer if query else self._doc_tokenizer
        marker = self._query_marker if query else self._doc_marker
        prompt = self._query_prompt if query else self._doc_prompt
        # an unpaired surrogate, which no UTF-8 has, becomes a question mark
        given = [(prompt + text).encode("utf-8", "replace").decode() for text in texts]
        with reported(f"{self.path}: the tokenizer cannot read a text"):  # what a file says may fail on a text only
            rows: list[list[int]] = [encoding.ids for encoding in reader.encode_batch_fast(given)]
        if marker is not None:
            for row in rows:
                row.insert(1, marker)
        return rows

    def _marker(self, path: Path, marker: str | None, prompt: str) -> tuple[int | None, str]:
        """Return the id of the marker and the text that is a prompt.

        sentence-transformers writes a marker as a prompt, "[unused0] "; PyLate as a
        word of the vocabulary that ends in a blank, "[Q] ".
        """
        find = self._query_tokenizer.token_to_id
        if marker is None:
            token_id = find(prompt) if prompt else None
            word, _, rest = prompt.partition(" ")
            if token_id is None and word and not rest:
                token_id = find(word)
            return (token_id, "") if token_id is not None else (None, prompt)
        for spelling in (marker, marker.strip()):
            if (token_id := find(spelling)) is not None:
                return token_id, prompt
        raise MismatchError(f"{path} has no token {shown(marker)}, which the checkpoint names as its marker")

    def _mask_token(self, path: Path) -> int:
        settings, where = _settings(path)
        said = settings.get("mask_token")
        said = said.get("content") if isinstance(said, dict) else said  # a token with its properties
        named = self.config.expansion_token or said or "[MASK]"
        if not isinstance(named, str):
            raise CorruptFileError(f"{where}: mask_token is {shown(named)}, not a text")
        found: int | None = self._query_tokenizer.token_to_id(named)
        if found is None:
            raise MismatchError(f"{path} has no token {shown(named)}, which pads queries")
        return found


@contextmanager
def reported(problem: str) -> Iterator[None]:
    """Raise CorruptFileError for what the package raises: Exception, as a rule, or a panic, which is none."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise CorruptFileError(f"{problem} ({reason(error)})") from None


def load(path: Path) -> "Tokenizer":
    """Return the tokenizer of a tokenizer.json or a vocab.txt, without truncation and padding of its own.

    Raises  UnavailableError if the package is missing, CorruptFileError if the file cannot be read
    """
    extras.package("tokenizers", "late interaction")
    from tokenizers import Tokenizer

    if path.suffix == ".txt":
        return _word_pieces(path)
    with reported(f"{path} is not a tokenizer that `tokenizers` can read"):
        tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()  # a file may bring its own: all-MiniLM-L6-v2 has 128 tokens, padded
    tokenizer.no_padding()
    return tokenizer


def _word_pieces(path: Path) -> "Tokenizer":
    """Build BERT's tokenizer from its list of word pieces, one a line."""
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing

    try:
        words = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CorruptFileError(f"{path} is not a list of word pieces ({reason(error)})") from None
    vocabulary = {word.rstrip("\r"): number for number, word in enumerate(words) if word or number < len(words) - 1}
    special = ("[UNK]", "[CLS]", "[SEP]", "[MASK]", "[PAD]")
    if lacking := [word for word in special if word not in vocabulary]:
        raise CorruptFileError(f"{path} has no {lacking[0]} among its {len(vocabulary)} lines: no word pieces of BERT")
    settings, where = _settings(path)
    strip = "strip_accents"
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(
        lowercase=setting(where, settings, "do_lower_case", True),
        handle_chinese_chars=setting(where, settings, "tokenize_chinese_chars", True),
        strip_accents=None if settings.get(strip) is None else setting(where, settings, strip, True),
    )
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.add_special_tokens([AddedToken(word, normalized=False, special=True) for word in special])
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(word, vocabulary[word]) for word in ("[CLS]", "[SEP]")]
    )
    return tokenizer


def _settings(tokenizer: Path) -> tuple[Json, Path]:
    """Return the tokenizer_config.json beside a tokenizer, if there is one, and where it is."""
    path = tokenizer.with_name("tokenizer_config.json")
    return (read_json(path) if path.exists() else {}), path


def rows_of(starts: NDArray[np.int64], texts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows of some texts, one text after the other; text i has the rows starts[i]..starts[i + 1]."""
    begins, lengths = starts[texts], starts[texts + 1] - starts[texts]
    ends = np.cumsum(lengths)
    return np.repeat(begins - (ends - lengths), lengths) + np.arange(int(ends[-1]))


def _packed(rows: list[list[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    ids = np.fromiter((number for row in rows for number in row), np.int64, int(lengths.sum()))
    return ids, np.concatenate([[0], np.cumsum(lengths)])
