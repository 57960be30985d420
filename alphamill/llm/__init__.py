"""Language models: one endpoint shape, tiers, money that cannot be overshot, replies paid once."""
