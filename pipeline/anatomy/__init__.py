"""What a finished build is made of, beyond what build.json says: one module a part, `document.py` the parts."""
