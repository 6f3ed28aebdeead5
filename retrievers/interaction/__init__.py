"""Re-rankers over word vectors: K-NRM, Conv-KNRM and Duet, the rows of ColBERT's Table 1 that came before BERT."""
