"""One OpenAI-compatible endpoint: requests, replies, dialects, failures."""
