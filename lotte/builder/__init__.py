"""Build LoTTE from Stack Exchange dumps and GooAQ."""
