"""The HTML report: documents in, one self-contained page out; `page.py` assembles it."""
