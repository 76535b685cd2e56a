"""Documents to an index: read, encode, prune, round, write; nothing lost without saying so."""
