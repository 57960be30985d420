"""Who was listed when, and who belongs to a universe: membership by what was known by then."""
