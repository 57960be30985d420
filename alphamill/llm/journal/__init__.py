"""The journal of model calls: what was reserved, sent, settled, and what it cost."""
