"""From a question and a merged cache to an answer with its moments."""
