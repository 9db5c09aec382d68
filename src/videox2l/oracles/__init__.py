"""Relevance oracles: a question and an index in, a score for every chunk out."""
