"""What was computed once is computed again and compared, at no cost."""
