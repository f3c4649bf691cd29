"""From raw rows to a clean trace pool: every row is kept, or rejected with its reason."""
