"""One chart a module: each returns a Vega-Lite specification (treemap.py: Vega) as plain data.

Colours are named as the style sheet's custom properties, `var(--accent)`: page.js puts in what they are in
the light or the dark theme. No specification holds an address.
"""
