"""An index of others' documents to one with vectors: planned, copied, caught up, proved, switched, and undone."""
