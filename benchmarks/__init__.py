"""One script a question; `python -m benchmarks.NAME --help` says how to run each. Rules: README.md; results: LOG.md."""
