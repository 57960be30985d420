"""What a search learns from its own trials: feedback for the models, and when to stop."""
