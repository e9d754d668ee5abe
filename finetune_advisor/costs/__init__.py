"""Tokens and seconds into money, with dated prices."""
