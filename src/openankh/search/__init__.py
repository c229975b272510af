"""Search: the nearest vectors of a query, exactly or approximately, and what their labels say of it."""
