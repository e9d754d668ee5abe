"""Results into blocks, and blocks into HTML, Markdown and JSON."""
