"""Plots as inline SVG: where the marks are is computed here, how they look is page.css's.

scales    data to pixels, and where ticks stand and what they say
thinning  a long series as the points that a screen can show
figures   lines, bands, bars, dots and labels on panels; a figure with its question and its table
plots.html.j2 draws a figure; every text in it is escaped as anywhere on the page.
"""
