"""The HTML report as a PDF on A4: what a browser prints of it, with bookmarks and a text that can be searched."""

from __future__ import annotations

from finetune_advisor.report import browser


def to_pdf(html_text: str) -> bytes:
    """The page that `to_html` wrote, printed; its charts are drawn for paper while the browser prepares to print.

    Raises:
        Missing: No browser was found, or it did not print.
    """
    return browser.run(
        html_text,
        "--no-pdf-header-footer",
        "--generate-pdf-document-outline",
        "--print-to-pdf={folder}/report.pdf",
        made="report.pdf",
    )
