"""What every call passes, whatever it asks: keys, limits, forms, errors and the log of requests."""
