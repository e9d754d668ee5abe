"""Examples and documents: load, audit, split and lock, count tokens."""
