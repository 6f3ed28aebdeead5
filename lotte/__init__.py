"""Build and read LoTTE: long-tail questions over Stack Exchange answers."""

from lotte.dataset import Corpus, Dataset, Doc, Docs, Qrels, Queries
from lotte.errors import LotteError
from lotte.run import Hit, Run

__all__ = ["Corpus", "Dataset", "Doc", "Docs", "Hit", "LotteError", "Qrels", "Queries", "Run"]
