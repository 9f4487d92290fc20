"""Features: what training and serving know of a product or a query, defined once and read from one place (Feast)."""
