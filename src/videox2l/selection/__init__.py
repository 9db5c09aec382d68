"""From relevance to a level for every chunk."""
