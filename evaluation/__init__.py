"""Collections, measures and the comparison of ways to ask."""
