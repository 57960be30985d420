"""What a search learns from its trials: feedback for models, when to stop; and random formulas."""
